//! The JSON that back ends get: SRS's keys (`srs_app_http_hooks.cpp`), each as SRS fills it.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Serialize;

use crate::client::Client;
use crate::hub::StreamKey;
use crate::identity;

/// What is told of a client in every callback.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    client_id: String,
    ip: String,
    vhost: String,
    app: String,
    #[serde(rename = "tcUrl")]
    tc_url: String,
    stream: String,
    /// With its question mark; empty where nothing was appended.
    param: String,
    #[serde(rename = "pageUrl")]
    page_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream_id: String,
}

/// What only some are told.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) send_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recv_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cwd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    server_id: &'a str,
    service_id: &'a str,
    action: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
    #[serde(flatten)]
    more: &'a More,
}

impl Facts {
    /// Of a client that publishes or plays.
    pub(super) fn of(client: &Client, key: &StreamKey) -> Self {
        let tc_url = match client.protocol {
            "rtmp" => tc_url(client),
            // What an RTMP client of the same stream would have named, with HTTP's scheme, as SRS does.
            _ => {
                let host = client.url.split('/').next().unwrap_or_default();
                format!("http://{host}/{}", key.app())
            }
        };
        Self {
            stream: key.stream().to_owned(),
            stream_url: identity::stream_url(key),
            stream_id: identity::stream_id(key),
            ..Self::of_connection(client, key.vhost(), key.app(), tc_url)
        }
    }

    /// Of an RTMP client that has connected and named no stream yet.
    pub(super) fn of_connected(client: &Client, vhost: &str, app: &str) -> Self {
        Self::of_connection(client, vhost, app, tc_url(client))
    }

    fn of_connection(client: &Client, vhost: &str, app: &str, tc_url: String) -> Self {
        let param = match client.query.as_str() {
            "" => String::new(),
            query => format!("?{query}"),
        };
        Self {
            client_id: client.id.to_string(),
            ip: ip(client.peer),
            vhost: vhost.to_owned(),
            app: app.to_owned(),
            tc_url,
            stream: String::new(),
            param,
            page_url: client.page.clone().unwrap_or_default(),
            stream_url: String::new(),
            stream_id: String::new(),
        }
    }

    /// Of a stream whose publisher is not known any more.
    pub(super) fn of_stream(key: &StreamKey) -> Self {
        Self {
            client_id: String::new(),
            ip: String::new(),
            vhost: key.vhost().to_owned(),
            app: key.app().to_owned(),
            tc_url: String::new(),
            stream: key.stream().to_owned(),
            param: String::new(),
            page_url: String::new(),
            stream_url: identity::stream_url(key),
            stream_id: identity::stream_id(key),
        }
    }

    /// The body of one callback.
    pub(super) fn body(&self, action: &str, more: &More) -> Bytes {
        let body = Body {
            server_id: identity::server_id(),
            service_id: identity::service_id(),
            action,
            facts: self,
            more,
        };
        // Texts and numbers: it cannot fail.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

/// As the client sent it: back ends look for keys in it, as SRS's `full.conf` shows.
fn tc_url(client: &Client) -> String {
    let Client { url, url_query, .. } = client;
    match url_query.as_str() {
        "" => url.clone(),
        query => format!("{url}?{query}"),
    }
}

fn ip(peer: Option<SocketAddr>) -> String {
    peer.map(|peer| peer.ip().to_canonical().to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_VHOST;

    fn client(protocol: &'static str, url: &str) -> Client {
        Client {
            id: 7,
            peer: Some("[::ffff:192.168.1.10]:4000".parse().unwrap()),
            protocol,
            query: "token=xxx&salt=yyy".to_owned(),
            page: Some("http://www.test.com/live.html".to_owned()),
            secure: false,
            via: String::new(),
            url: url.to_owned(),
            url_query: String::new(),
        }
    }

    /// The sample of SRS's `full.conf`, with the keys that its source adds.
    #[test]
    fn on_play_is_as_srs_writes_it() {
        let key = StreamKey::new("video.test.com", "live", "livestream").unwrap();
        let facts = Facts::of(&client("rtmp", "rtmp://video.test.com/live"), &key);
        let body: serde_json::Value =
            serde_json::from_slice(&facts.body("on_play", &More::default())).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "server_id": identity::server_id(),
                "service_id": identity::service_id(),
                "action": "on_play",
                "client_id": "7",
                "ip": "192.168.1.10", "vhost": "video.test.com", "app": "live",
                "tcUrl": "rtmp://video.test.com/live",
                "stream": "livestream", "param": "?token=xxx&salt=yyy",
                "pageUrl": "http://www.test.com/live.html",
                "stream_url": "video.test.com/live/livestream",
                "stream_id": identity::stream_id(&key),
            })
        );
    }

    #[test]
    fn what_is_special_to_some_callbacks() {
        let key = StreamKey::new(DEFAULT_VHOST, "live", "x").unwrap();
        let mut client = client("http1", "host.example/live/x.flv");
        client.query = String::new();
        let facts = Facts::of(&client, &key);
        let more = More {
            cwd: Some("/srv".to_owned()),
            file: Some("./a.flv".to_owned()),
            ..More::default()
        };
        let body: serde_json::Value = serde_json::from_slice(&facts.body("on_dvr", &more)).unwrap();
        assert_eq!(body["tcUrl"], "http://host.example/live");
        assert_eq!(
            (&body["param"], &body["stream_url"]),
            (&"".into(), &"/live/x".into())
        );
        assert_eq!(
            (&body["cwd"], &body["file"]),
            (&"/srv".into(), &"./a.flv".into())
        );
        client.url = "rtmp://h/live".to_owned();
        client.url_query = "key=d2fa801d".to_owned();
        let facts = Facts::of_connected(&client, DEFAULT_VHOST, "live");
        let more = More {
            send_bytes: Some(10_240),
            recv_bytes: Some(1),
            ..More::default()
        };
        let body: serde_json::Value =
            serde_json::from_slice(&facts.body("on_close", &more)).unwrap();
        assert_eq!(
            (&body["send_bytes"], &body["recv_bytes"]),
            (&10_240.into(), &1.into())
        );
        assert!(body.get("stream_id").is_none());
        // The sample of SRS's `full.conf` has a key there.
        assert_eq!(body["tcUrl"], "rtmp://h/live?key=d2fa801d");
    }
}
