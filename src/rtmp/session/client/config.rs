//! What a client session needs to be told.

use crate::rtmp::amf0::Value;

/// What a client wants of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be given it.
    Play,
    /// To give it.
    Publish,
}

/// What a [`ClientSession`](super::ClientSession) needs to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// To play or to publish.
    pub purpose: Purpose,
    /// The application, with what is appended to it (`live`, `live?vhost=example.com`).
    pub app: String,
    /// The URL of the application: `rtmp://host:port/live`. Its host is the vhost to most servers.
    pub tc_url: String,
    /// The stream's name, with what is appended to it (`livestream?token=…`).
    pub stream: String,
    /// What the client calls itself. Default: `FMLE/3.0 (compatible; pingora-live/x.y.z)`; some servers want the first word.
    pub flash_ver: String,
    /// The page that the player is on, empty for none.
    pub page_url: String,
    /// More properties of the connect command's object.
    pub properties: Vec<(String, Value)>,
    /// The chunk size that we announce and send with, in bytes. Default 60,000. Clamped to 1..=16,777,215.
    pub chunk_size: u32,
    /// After how many bytes the server is asked to acknowledge. Default 2,500,000.
    pub window_ack_size: u32,
}

impl ClientConfig {
    /// With defaults for all but what has none.
    pub fn new(
        purpose: Purpose,
        app: impl Into<String>,
        tc_url: impl Into<String>,
        stream: impl Into<String>,
    ) -> Self {
        ClientConfig {
            purpose,
            app: app.into(),
            tc_url: tc_url.into(),
            stream: stream.into(),
            flash_ver: concat!(
                "FMLE/3.0 (compatible; pingora-live/",
                env!("CARGO_PKG_VERSION"),
                ")"
            )
            .to_owned(),
            page_url: String::new(),
            properties: Vec::new(),
            chunk_size: 60_000,
            window_ack_size: 2_500_000,
        }
    }
}
