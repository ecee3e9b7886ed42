//! Which upstream a request is for, and what is changed of its headers on the way. No I/O.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::{self, HeaderChanges, RouteStreams};
use crate::via;

use super::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The client's address alone: what nginx's users and SRS look for.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A route, ready to be used.
#[derive(Debug)]
pub struct Route {
    hosts: Vec<String>,
    /// Without the slash at its end; empty for all paths.
    path: String,
    /// The name of its upstream.
    pub upstream: String,
    /// What becomes of streams' addresses; never [`RouteStreams::Auto`].
    pub streams: RouteStreams,
    /// Whether WebSockets may pass.
    pub websocket: bool,
    strip_prefix: bool,
    request: Changes,
    response: Changes,
}

/// Changes of headers, parsed.
#[derive(Debug, Default)]
struct Changes {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl Changes {
    /// What was read from a file was found to be good; of what was built in code, what is no header is left out.
    fn new(changes: &HeaderChanges) -> Self {
        let pairs = |pairs: &[(String, String)]| {
            let parsed = |(name, value): &(String, String)| {
                Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
            };
            pairs.iter().filter_map(parsed).collect()
        };
        Self {
            set: pairs(&changes.set),
            add: pairs(&changes.add),
            remove: changes
                .remove
                .iter()
                .filter_map(|n| n.parse().ok())
                .collect(),
        }
    }
}

/// How well a host is meant by a route: the more, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is for all hosts.
    Any,
    /// By a `*.` and a name of so many bytes.
    Wildcard(usize),
    Named,
}

/// All routes.
#[derive(Debug, Default)]
pub struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// As `live.routes` says.
    pub fn new(routes: &[config::Route]) -> Self {
        let route = |route: &config::Route| {
            let path = route.path.trim_end_matches('/').to_owned();
            Arc::new(Route {
                streams: match route.streams {
                    RouteStreams::Auto if path.is_empty() => RouteStreams::Mounts,
                    RouteStreams::Auto => RouteStreams::Published,
                    chosen => chosen,
                },
                hosts: route
                    .host
                    .iter()
                    .map(|host| host.to_ascii_lowercase())
                    .collect(),
                path,
                upstream: route.upstream.clone(),
                websocket: route.websocket,
                strip_prefix: route.strip_prefix,
                request: Changes::new(&route.request),
                response: Changes::new(&route.response),
            })
        };
        Self(routes.iter().map(route).collect())
    }

    /// The route for a request, if there is one: by the host first, then by the longest path. `host` is without its port.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.0
            .iter()
            .filter(|route| route.matches_path(path))
            .filter_map(|route| Some((route.fit(host)?, route.path.len(), route)))
            .max_by_key(|(fit, length, _)| (*fit, *length))
            .map(|(.., route)| route)
    }
}

impl Route {
    /// Whether it is for all paths of its hosts.
    pub fn is_rest(&self) -> bool {
        self.path.is_empty()
    }

    /// By whole segments: `/api` is for `/api` and `/api/x`, not for `/apix`.
    fn matches_path(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn fit(&self, host: &str) -> Option<Fit> {
        if self.hosts.is_empty() {
            return Some(Fit::Any);
        }
        let host = host.to_ascii_lowercase();
        let fits = self
            .hosts
            .iter()
            .filter_map(|name| match name.strip_prefix('*') {
                Some(suffix) => {
                    let below = host.len() > suffix.len() && host.ends_with(suffix);
                    below.then_some(Fit::Wildcard(suffix.len()))
                }
                None => (*name == host).then_some(Fit::Named),
            });
        fits.max()
    }

    /// Makes the client's request the one for the upstream.
    pub fn change_request(
        &self,
        request: &mut RequestHeader,
        asked: &Asked,
    ) -> pingora::Result<()> {
        asked.announce(request)?;
        if self.strip_prefix
            && let Some(uri) = self.stripped(&request.uri)
        {
            request.set_uri(uri);
        }
        for name in &self.request.remove {
            request.remove_header(name);
        }
        for (name, value) in &self.request.set {
            request.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.request.add {
            request.append_header(name.clone(), value.clone())?;
        }
        if !asked.hop.is_empty() {
            via::add(request, &asked.hop)?;
        }
        Ok(())
    }

    /// Makes the upstream's response the one for the client.
    pub fn change_response(&self, response: &mut ResponseHeader) -> pingora::Result<()> {
        for name in &self.response.remove {
            response.remove_header(name);
        }
        for (name, value) in &self.response.set {
            response.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.response.add {
            response.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// The target without the route's path; the query stays.
    fn stripped(&self, uri: &Uri) -> Option<Uri> {
        let rest = uri.path().strip_prefix(self.path.as_str())?;
        let path = if rest.is_empty() { "/" } else { rest };
        let target = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// How a request came: what its upstream is told of that.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Who asks.
    pub client: Option<SocketAddr>,
    /// The peer of the connection, by the kernel or by the PROXY protocol.
    pub peer: Option<SocketAddr>,
    /// Whether the peer is trusted with the headers that it sends about others.
    pub trusted: bool,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The host that it is for, with its port.
    pub host: String,
    /// What is added to `Via` (RFC 9110 §7.6.3): the version of HTTP that it came by, and this server's name. Empty: nothing is.
    pub hop: String,
}

impl Asked {
    /// Tells the upstream who asked, how, and for which host. What came with the request is kept only from a trusted proxy: an upstream
    /// that believes us must not be told what a client made up.
    fn announce(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        let told = |request: &RequestHeader, name: &HeaderName| {
            let values: Vec<_> = request
                .headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .filter(|_| self.trusted)
                .collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        if let (Some(peer), Some(client)) = (self.peer, self.client) {
            let peer = peer.ip().to_canonical();
            let client = client.ip();
            let chain = match told(request, &X_FORWARDED_FOR) {
                Some(before) => format!("{before}, {peer}"),
                // The client is known from another header.
                None if client != peer => format!("{client}, {peer}"),
                None => peer.to_string(),
            };
            request.insert_header(X_FORWARDED_FOR, chain)?;
            request.insert_header(X_REAL_IP, client.to_string())?;
        } else {
            request.remove_header(&X_FORWARDED_FOR);
            request.remove_header(&X_REAL_IP);
        }
        let scheme = if self.tls { "https" } else { "http" };
        let proto = told(request, &X_FORWARDED_PROTO);
        request.insert_header(X_FORWARDED_PROTO, proto.as_deref().unwrap_or(scheme))?;
        match told(request, &X_FORWARDED_HOST).or_else(|| Some(self.host.clone())) {
            Some(host) if !host.is_empty() => request.insert_header(X_FORWARDED_HOST, host)?,
            _ => {
                request.remove_header(&X_FORWARDED_HOST);
            }
        }
        // One chain is enough: this one would lack us.
        request.remove_header(&header::FORWARDED);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(yaml: &str) -> Routes {
        let text =
            format!("live:\n  upstreams: {{ a: {{ servers: [127.0.0.1:1] }} }}\n  routes:\n{yaml}");
        let live = config::Live::from_yaml(&text, "test", std::iter::empty());
        Routes::new(&live.unwrap_or_else(|errors| panic!("{errors}")).routes)
    }

    fn paths(routes: &Routes, host: &str, path: &str) -> Option<(Vec<String>, String)> {
        let route = routes.find(host, path)?;
        Some((route.hosts.clone(), route.path.clone()))
    }

    #[test]
    fn the_most_specific_route_is_meant() {
        let routes = routes(
            "    - { path: /, upstream: a }\n    - { path: /api, upstream: a }\n    - { path: /api/v2/, upstream: a }\n    \
             - { host: '*.example.com', path: /x, upstream: a }\n    - { host: '*.b.example.com', upstream: a }\n    \
             - { host: [b.example.com, c.d], upstream: a }\n",
        );
        let check = |host: &str, path: &str, hosts: &[&str], route: &str| {
            let expected = (
                hosts.iter().map(|h| (*h).to_owned()).collect(),
                route.to_owned(),
            );
            assert_eq!(paths(&routes, host, path), Some(expected), "{host}{path}");
        };
        for (path, route) in [
            ("/", ""),
            ("/apix", ""),
            ("/api", "/api"),
            ("/api/", "/api"),
            ("/api/v2", "/api/v2"),
            ("/api/v2x", "/api"),
            ("/api/v2/x", "/api/v2"),
        ] {
            check("a", path, &[], route);
        }
        check("a.example.com", "/x/y", &["*.example.com"], "/x");
        check("a.example.com", "/api", &[], "/api");
        check("example.com", "/x", &[], "");
        check("B.example.com", "/x", &["b.example.com", "c.d"], "");
        check("a.b.example.com", "/x", &["*.b.example.com"], "");
        assert_eq!(paths(&Routes::default(), "a", "/"), None);
    }

    fn request(target: &str, headers: &[(&str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            request.append_header((*name).to_owned(), *value).unwrap();
        }
        request
    }

    fn told<'a>(request: &'a RequestHeader, name: &str) -> Vec<&'a str> {
        let values = request.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_upstream_is_told_who_asks() {
        let routes = routes("    - { upstream: a }\n");
        let route = routes.find("", "/").unwrap();
        let made_up = [
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-For", "2.2.2.2"),
            ("X-Real-IP", "1.1.1.1"),
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Host", "evil"),
            ("Forwarded", "for=1.1.1.1"),
        ];
        let mut asked = Asked {
            client: Some("192.0.2.1:5".parse().unwrap()),
            peer: Some("192.0.2.1:5".parse().unwrap()),
            trusted: false,
            tls: true,
            host: "a.example:8443".to_owned(),
            hop: "1.1 us".to_owned(),
        };
        let mut sent = request("/", &made_up);
        route.change_request(&mut sent, &asked).unwrap();
        assert_eq!(told(&sent, "X-Forwarded-For"), ["192.0.2.1"]);
        assert_eq!(told(&sent, "X-Real-IP"), ["192.0.2.1"]);
        assert_eq!(told(&sent, "X-Forwarded-Proto"), ["https"]);
        assert_eq!(told(&sent, "X-Forwarded-Host"), ["a.example:8443"]);
        assert_eq!(told(&sent, "Forwarded"), [""; 0]);
        assert_eq!(told(&sent, "Via"), ["1.1 us"]);
        let mut sent = request("/", &[("Via", "2 cdn")]);
        route.change_request(&mut sent, &asked).unwrap();
        assert_eq!(told(&sent, "Via"), ["2 cdn, 1.1 us"]);

        asked.trusted = true;
        asked.client = Some("2.2.2.2:0".parse().unwrap());
        asked.peer = Some("[::ffff:10.0.0.1]:5".parse().unwrap());
        let mut sent = request("/", &made_up);
        route.change_request(&mut sent, &asked).unwrap();
        assert_eq!(
            told(&sent, "X-Forwarded-For"),
            ["1.1.1.1, 2.2.2.2, 10.0.0.1"]
        );
        assert_eq!(told(&sent, "X-Real-IP"), ["2.2.2.2"]);
        assert_eq!(told(&sent, "X-Forwarded-Proto"), ["gopher"]);
        assert_eq!(told(&sent, "X-Forwarded-Host"), ["evil"]);
        // Known by `Forwarded`.
        let mut sent = request("/", &[("Forwarded", "for=2.2.2.2")]);
        route.change_request(&mut sent, &asked).unwrap();
        assert_eq!(told(&sent, "X-Forwarded-For"), ["2.2.2.2, 10.0.0.1"]);
        // Nobody is known.
        let mut sent = request("/", &made_up);
        route.change_request(&mut sent, &Asked::default()).unwrap();
        assert_eq!(told(&sent, "X-Forwarded-For"), [""; 0]);
        assert_eq!(told(&sent, "X-Real-IP"), [""; 0]);
        assert_eq!(told(&sent, "X-Forwarded-Host"), [""; 0]);
    }

    #[test]
    fn headers_are_removed_set_and_added() {
        let routes = routes(
            "    - upstream: a\n      request: { set: { X-A: new, Host: b.example }, add: { X-B: two, X-Forwarded-For: x }, remove: [X-C, X-D] }\n      \
             response: { set: { Server: us }, add: { Vary: Origin }, remove: X-Powered-By }\n",
        );
        let route = routes.find("", "/").unwrap();
        let mut sent = request(
            "/",
            &[
                ("X-A", "1"),
                ("X-A", "2"),
                ("X-B", "one"),
                ("X-C", "x"),
                ("Host", "a"),
            ],
        );
        route.change_request(&mut sent, &Asked::default()).unwrap();
        assert_eq!(told(&sent, "X-A"), ["new"]);
        assert_eq!(told(&sent, "X-B"), ["one", "two"]);
        assert_eq!(told(&sent, "X-C"), [""; 0]);
        assert_eq!(told(&sent, "Host"), ["b.example"]);
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("Server", "them").unwrap();
        response.append_header("Vary", "Accept").unwrap();
        response.append_header("X-Powered-By", "x").unwrap();
        route.change_response(&mut response).unwrap();
        let all: Vec<_> = response
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(all, ["server: us", "vary: Accept", "vary: Origin"]);
    }

    #[test]
    fn the_prefix_is_stripped() {
        let routes = routes("    - { path: /api/, upstream: a, strip_prefix: on }\n");
        for (target, sent) in [
            ("/api", "/"),
            ("/api/", "/"),
            ("/api?q=1", "/?q=1"),
            ("/api/a%2Fb/?q", "/a%2Fb/?q"),
            ("/api//b", "//b"),
        ] {
            let mut request = request(target, &[]);
            let route = routes.find("", request.uri.path()).unwrap();
            route
                .change_request(&mut request, &Asked::default())
                .unwrap();
            assert_eq!(request.raw_path(), sent.as_bytes(), "{target}");
        }
    }
}
