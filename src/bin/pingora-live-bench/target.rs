//! Where the load goes: a URL, taken apart.

use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;

use crate::Failure;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    /// Without TLS, by knowing so before.
    Http2,
    Ws,
    Rtmp,
}

/// One address, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) tls: bool,
    /// Without the port.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    /// With the query.
    pub(crate) path: String,
    /// As it was written, for reports.
    pub(crate) url: String,
}

impl Target {
    /// Takes `url` apart and resolves its host. `{}` in it becomes `number`.
    pub(crate) fn parse(url: &str, number: usize) -> Result<Self, Failure> {
        let url = url.replace("{}", &number.to_string());
        let bad = |why: &str| Failure::Url {
            url: url.clone(),
            why: why.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        let (scheme, tls, port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, false, 80),
            Some("https") => (Scheme::Http, true, 443),
            Some("ws") => (Scheme::Ws, false, 80),
            Some("wss") => (Scheme::Ws, true, 443),
            Some("rtmp") => (Scheme::Rtmp, false, 1935),
            Some("rtmps") => (Scheme::Rtmp, true, 443),
            _ => {
                return Err(bad(
                    "it should begin with http, https, ws, wss, rtmp or rtmps",
                ));
            }
        };
        let host = uri.host().ok_or_else(|| bad("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = (host, uri.port_u16().unwrap_or(port))
            .to_socket_addrs()
            .map_err(|error| bad(&error.to_string()))?
            .next()
            .ok_or_else(|| bad("its host has no address"))?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(Self {
            scheme,
            tls,
            host: host.to_owned(),
            address,
            path: path.to_owned(),
            url,
        })
    }

    /// The same address over HTTP/2.
    pub(crate) fn over_http2(self) -> Result<Self, Failure> {
        match self.scheme {
            Scheme::Http | Scheme::Http2 => Ok(Self {
                scheme: Scheme::Http2,
                ..self
            }),
            Scheme::Ws | Scheme::Rtmp => Err(Failure::Url {
                url: self.url,
                why: "over HTTP/2, it should begin with http or https".to_owned(),
            }),
        }
    }

    /// RTMP's app and stream: the stream is what follows the last slash of the path, with the query.
    pub(crate) fn app_and_stream(&self) -> (&str, &str) {
        let path = self.path.trim_start_matches('/');
        let end = path.find('?').unwrap_or(path.len());
        let slash = path.get(..end).and_then(|p| p.rfind('/'));
        match slash {
            Some(slash) => (
                path.get(..slash).unwrap_or_default(),
                path.get(slash + 1..).unwrap_or_default(),
            ),
            None => (path, ""),
        }
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.address.port())
        } else {
            format!("{}:{}", self.host, self.address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("rtmp://127.0.0.1:19350/live/sub/cam{}?key=a/b", 7).unwrap();
        assert_eq!((target.scheme, target.tls), (Scheme::Rtmp, false));
        assert_eq!(target.app_and_stream(), ("live/sub", "cam7?key=a/b"));
        assert_eq!(target.authority(), "127.0.0.1:19350");
        let target = Target::parse("wss://[::1]/live/x.flv", 0).unwrap();
        assert_eq!((target.scheme, target.tls), (Scheme::Ws, true));
        assert_eq!(target.authority(), "[::1]:443");
        assert_eq!(target.path, "/live/x.flv");
        for wrong in ["ftp://127.0.0.1/x", "x", "http:///x"] {
            assert!(Target::parse(wrong, 0).is_err(), "{wrong}");
        }
    }
}
