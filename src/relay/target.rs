//! Addresses of streams at other servers, and what is said to these servers of them.

use std::fmt;

use url::Url;

use crate::config::{Cluster, DEFAULT_VHOST, Remote, Scheme};
use crate::hub::StreamKey;

/// Query parameters that name a vhost: a relay names its own.
const VHOST_PARAMETERS: [&str; 2] = ["vhost", "domain"];

/// A stream at another server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    /// Its name or address, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The vhost that it is asked for, where that is not its own host.
    pub(crate) vhost: Option<String>,
    /// RTMP: `app/stream`. HTTP: the path, without the slash it begins with.
    pub(crate) path: String,
    /// Without `?`; empty for none. Holds tokens, so it is not shown.
    pub(crate) query: String,
}

impl Target {
    /// A stream at an origin of an edge. `query` is the client's.
    pub(crate) fn at_origin(
        origin: &Remote,
        scheme: Scheme,
        cluster: &Cluster,
        key: &StreamKey,
        query: &str,
    ) -> Self {
        let asked = cluster.vhost.replace("[vhost]", key.vhost());
        let suffix = if scheme.is_rtmp() { "" } else { ".flv" };
        let path = format!("{}/{}", key.app(), key.stream());
        Target {
            scheme,
            host: origin.host.clone(),
            port: origin.port.unwrap_or(scheme.port()),
            // The default vhost has no name that means anything to others.
            vhost: (!asked.contains(DEFAULT_VHOST)).then_some(asked),
            path: if scheme.is_rtmp() {
                path
            } else {
                encode(&path) + suffix
            },
            query: without_vhost(query),
        }
    }

    /// Where a stream is pushed to.
    pub(crate) fn of_destination(destination: &Remote, key: &StreamKey) -> Self {
        let scheme = destination.scheme.unwrap_or(Scheme::Rtmp);
        let template = match destination.path.as_str() {
            "" => "[app]/[stream]",
            path => path,
        };
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        Target {
            scheme,
            host: destination.host.clone(),
            port: destination.port.unwrap_or(scheme.port()),
            vhost: None,
            path: fill(path, key),
            query: fill(query, key),
        }
    }

    /// Where an operator lets a stream be pulled from: as [`Target::of_destination`], but that HTTP's default is the FLV of that name.
    pub(crate) fn of_source(source: &Remote, key: &StreamKey) -> Self {
        let mut target = Target::of_destination(source, key);
        if source.path.is_empty() && !target.scheme.is_rtmp() {
            target.path = encode(&format!("{}/{}", key.app(), key.stream())) + ".flv";
        }
        target
    }

    /// Where an answer points to. A server that says only where the app is (RTMP) means the same stream there.
    pub(crate) fn redirected(&self, to: &str) -> Option<Self> {
        if !self.scheme.is_rtmp() {
            return self.located(to);
        }
        let remote: Remote = to.parse().ok()?;
        let scheme = remote.scheme.filter(|scheme| scheme.is_rtmp())?;
        let (path, query) = remote.path.split_once('?').unwrap_or((&remote.path, ""));
        let path = path.trim_matches('/');
        let (app, stream) = self.app_and_stream();
        let whole = if path == app || !path.contains('/') && !path.is_empty() && path != stream {
            format!("{path}/{stream}")
        } else if path.is_empty() {
            self.path.clone()
        } else {
            path.to_owned()
        };
        Some(Target {
            scheme,
            port: remote.port.unwrap_or(scheme.port()),
            host: remote.host,
            vhost: None,
            path: whole,
            query: if query.is_empty() {
                self.query.clone()
            } else {
                query.to_owned()
            },
        })
    }

    /// HTTP's `Location`: an address, or a part of one that is completed by ours (RFC 9110 §10.2.2, RFC 3986 §5).
    fn located(&self, to: &str) -> Option<Self> {
        let ours = Target {
            vhost: None,
            ..self.clone()
        };
        let ours = format!(
            "{}://{}{}",
            self.scheme.as_str(),
            ours.authority(),
            self.path_and_query()
        );
        let to = to.trim();
        // Another server, even one of the same address, is not asked for our vhost.
        let names_server = to.starts_with("//") || Url::parse(to).is_ok();
        // RFC 3986 §4.2: the first segment of a relative path has no colon. An answer that points to what was asked for points nowhere.
        let first = to.split(['/', '?', '#']).next().unwrap_or_default();
        if to.is_empty() || !names_server && first.contains(':') {
            return None;
        }
        let url = Url::parse(&ours).ok()?.join(to).ok()?;
        let scheme = Scheme::of(url.scheme()).filter(|scheme| !scheme.is_rtmp())?;
        // Browsers take more for a name than can be asked for.
        let server: Remote = url.host_str()?.parse().ok()?;
        Some(Target {
            scheme,
            host: server.host,
            port: url.port().unwrap_or(scheme.port()),
            vhost: self.vhost.clone().filter(|_| !names_server),
            path: url.path().trim_start_matches('/').to_owned(),
            query: url.query().unwrap_or_default().to_owned(),
        })
    }

    /// Whether both are at the same server.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// RTMP's app and stream: cut at the last slash.
    pub(crate) fn app_and_stream(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }

    /// The stream's name with the query, as RTMP's clients send it.
    pub(crate) fn name(&self) -> String {
        let (_, stream) = self.app_and_stream();
        match self.query.as_str() {
            "" => stream.to_owned(),
            query => format!("{stream}?{query}"),
        }
    }

    /// RTMP's tcUrl: names the vhost, as all servers read it.
    pub(crate) fn tc_url(&self) -> String {
        let (app, _) = self.app_and_stream();
        format!("{}://{}/{app}", self.scheme.as_str(), self.authority())
    }

    /// The Host header.
    pub(crate) fn authority(&self) -> String {
        let host = self.vhost.as_ref().unwrap_or(&self.host);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Path and query of an HTTP request.
    pub(crate) fn path_and_query(&self) -> String {
        match self.query.as_str() {
            "" => format!("/{}", self.path),
            query => format!("/{}?{query}", self.path),
        }
    }

    /// The name that TLS asks for.
    pub(crate) fn sni(&self) -> String {
        self.host.clone()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        write!(
            f,
            "{}://{host}:{}/{}",
            self.scheme.as_str(),
            self.port,
            self.path
        )
    }
}

/// Puts the names of a stream in the place of their variables.
pub(crate) fn fill(text: &str, key: &StreamKey) -> String {
    text.replace("[vhost]", key.vhost())
        .replace("[app]", key.app())
        .replace("[stream]", key.stream())
}

/// A query without what names a vhost.
pub(crate) fn without_vhost(query: &str) -> String {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && !VHOST_PARAMETERS.contains(&name)
        })
        .collect();
    kept.join("&")
}

/// A path as a URL has it (RFC 3986 §3.3): names of streams are any text.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(vhost: &str) -> StreamKey {
        StreamKey::new(vhost, "a/live", "s 1").expect("a key")
    }

    fn remote(text: &str) -> Remote {
        text.parse().expect("a server")
    }

    #[test]
    fn an_origin_is_asked_for_the_vhost() {
        let cluster = Cluster::default();
        let rtmp = Target::at_origin(
            &remote("10.0.0.1:19350"),
            Scheme::Rtmp,
            &cluster,
            &key("a.example"),
            "vhost=x&token=1&&domain=y",
        );
        assert_eq!(rtmp.tc_url(), "rtmp://a.example:19350/a/live");
        assert_eq!(rtmp.name(), "s 1?token=1");
        let http = Target::at_origin(
            &remote("[::1]:8080"),
            Scheme::Http,
            &cluster,
            &key(DEFAULT_VHOST),
            "",
        );
        assert_eq!(http.authority(), "[::1]:8080");
        assert_eq!(http.path_and_query(), "/a/live/s%201.flv");
        let transformed = Cluster {
            vhost: "origin.[vhost]".to_owned(),
            ..Cluster::default()
        };
        let http = Target::at_origin(
            &remote("origin"),
            Scheme::Http,
            &transformed,
            &key("a.example"),
            "",
        );
        assert_eq!(http.authority(), "origin.a.example");
    }

    #[test]
    fn destinations_have_variables() {
        for (text, url, name) in [
            ("cdn", "rtmp://cdn/a/live", "s 1"),
            (
                "rtmp://cdn:1936/up/[vhost]-[stream]?k=[app]",
                "rtmp://cdn:1936/up",
                "v-s 1?k=a/live",
            ),
        ] {
            let target = Target::of_destination(&remote(text), &key("v"));
            assert_eq!(
                (target.tc_url().as_str(), target.name().as_str()),
                (url, name)
            );
        }
    }

    #[test]
    fn redirects_are_followed_to_where_they_point() {
        let http = Target::at_origin(
            &remote("a:8080"),
            Scheme::Http,
            &Cluster::default(),
            &key(DEFAULT_VHOST),
            "t=1",
        );
        let to = http
            .redirected("https://b.example/x.flv?y=2")
            .expect("an address");
        assert_eq!(
            (to.to_string().as_str(), to.query.as_str()),
            ("https://b.example:443/x.flv", "y=2")
        );
        let to = http.redirected("/other.flv").expect("an address");
        assert_eq!(to.to_string(), "http://a:8080/other.flv");
        for (location, address) in [
            ("other.flv?y", "http://a:8080/a/live/other.flv"),
            ("../up.flv", "http://a:8080/a/up.flv"),
            ("//b.example:81/c", "http://b.example:81/c"),
            (
                "http://user:secret@b.example/c#part",
                "http://b.example:80/c",
            ),
            ("http://[::1]/c d", "http://[::1]:80/c%20d"),
        ] {
            let to = http.redirected(location).expect("an address");
            assert_eq!(to.to_string(), address, "{location}");
        }
        let asked = Cluster {
            vhost: "v.example".to_owned(),
            ..Cluster::default()
        };
        let named = Target::at_origin(&remote("a"), Scheme::Http, &asked, &key("v"), "");
        let authority = |location| named.redirected(location).map(|to| to.authority());
        assert_eq!(authority("/b.flv").as_deref(), Some("v.example"));
        assert_eq!(authority("http://b/b.flv").as_deref(), Some("b"));
        assert_eq!(authority("//b/b.flv").as_deref(), Some("b"));
        for none in [
            "",
            "http://",
            "https://@/x",
            "http://[::1::@]:http",
            "data:x",
            "http://{a/d",
        ] {
            assert_eq!(http.redirected(none), None, "{none}");
        }
        assert_eq!(http.redirected("rtmp://b/x"), None);
        assert_eq!(http.redirected("::"), None);

        let rtmp = Target::of_destination(&remote("a"), &key("v"));
        for (text, path) in [
            ("rtmp://b/a/live", "a/live/s 1"),
            ("rtmp://b/a/live/s 1", "a/live/s 1"),
            ("rtmp://b:1/live", "live/s 1"),
            ("rtmp://b", "a/live/s 1"),
            ("rtmp://b/x/other", "x/other"),
        ] {
            assert_eq!(rtmp.redirected(text).expect(text).path, path, "{text}");
        }
        assert_eq!(rtmp.redirected("http://b/x"), None);
    }
}
