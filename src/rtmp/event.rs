//! What a session tells its driver.

use bytes::Bytes;

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The client named its application. Nothing more is decoded until the driver calls
    /// [`accept_connect`](super::ServerSession::accept_connect) or
    /// [`reject_connect`](super::ServerSession::reject_connect).
    Connect(Connect),
    /// The client wants to publish. Nothing more is decoded until the driver calls
    /// [`accept_publish`](super::ServerSession::accept_publish) or
    /// [`reject_publish`](super::ServerSession::reject_publish).
    Publish(Publish),
    /// The client wants to play. Nothing more is decoded until the driver calls
    /// [`accept_play`](super::ServerSession::accept_play) or
    /// [`reject_play`](super::ServerSession::reject_play).
    Play(Play),
    /// Audio or video of an accepted publish.
    Media {
        /// The message stream of the publish.
        stream_id: u32,
        /// Audio or video.
        kind: MediaKind,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV audio or video tag body as it came; never empty.
        payload: Bytes,
    },
    /// Metadata and other script data of an accepted publish.
    Data {
        /// The message stream of the publish.
        stream_id: u32,
        /// `onMetaData`, `onTextData` and so on.
        name: String,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV script tag body: the name as an AMF0 string, then the values, which are not checked. A leading
        /// `@setDataFrame` and the AMF3 wrapping are gone.
        payload: Bytes,
    },
    /// The client halts an accepted play, or wants to go on. It was answered.
    Pause {
        /// The message stream of the play.
        stream_id: u32,
        /// True to halt.
        paused: bool,
    },
    /// The client ended an accepted play; not after [`end_play`](super::ServerSession::end_play).
    StopPlay {
        /// The message stream of the play.
        stream_id: u32,
    },
    /// The client ended an accepted publish. Once for each; not after
    /// [`end_publish`](super::ServerSession::end_publish), nor when the connection just breaks.
    Unpublish {
        /// The message stream of the publish.
        stream_id: u32,
    },
}

/// A connect command (RTMP 1.0 §7.2.1.1). Texts are as sent, empty when they were not.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Connect {
    /// The application, with what the client appended to it (`live?vhost=example.com`).
    pub app: String,
    /// The URL of the application, without the stream.
    pub tc_url: String,
    /// What the client calls itself (`FMLE/3.0 (compatible; Lavf59.27.100)`).
    pub flash_ver: String,
    /// The URL of the SWF file that plays; some players put their address here.
    pub swf_url: String,
    /// The URL of the page that the player is on.
    pub page_url: String,
    /// 0 for AMF0, 3 for AMF3; 0 when not sent. We always answer 0.
    pub object_encoding: f64,
    /// E-RTMP: what `fourCcList`, `videoFourCcInfoMap` and `audioFourCcInfoMap` name, in that order, without repetition; at most
    /// [`MAX_FOURCCS`](super::limits::MAX_FOURCCS).
    pub fourcc_list: Vec<String>,
    /// E-RTMP: `capsEx`, 0 when not sent.
    pub caps_ex: u32,
    /// The nodes through which the stream has come or will go, in the form of HTTP's `Via`; what relays of this crate say of themselves,
    /// and empty for all others.
    pub via: String,
}

/// A publish command (RTMP 1.0 §7.2.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publish {
    /// The message stream: names this publish in all calls and events.
    pub stream_id: u32,
    /// The stream name as sent, with what the client appended to it (`stream?key=…`); may be empty.
    pub name: String,
    /// What the client wants done with the stream.
    pub kind: PublishKind,
}

/// The third argument of publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishKind {
    /// `live`; also when nothing or something unknown was sent.
    #[default]
    Live,
    /// `record`.
    Record,
    /// `append` or `appendWithGap`.
    Append,
}

/// A play command (RTMP 1.0 §7.2.2.1).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Play {
    /// The message stream: names this play in all calls.
    pub stream_id: u32,
    /// The stream name as sent, with what the client appended to it; may be empty.
    pub name: String,
    /// As sent: -2 live or else recorded (the default), -1 live only, else seconds into the recording. FFmpeg and librtmp
    /// send thousandths: -2000, -1000, milliseconds.
    pub start: f64,
    /// As sent: -1 to the end (the default), else seconds, with the same caution.
    pub duration: f64,
    /// Whether an earlier playlist is to be forgotten; true by default.
    pub reset: bool,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
}

/// What a client is told when it may not, or no longer, publish or play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// A code of `NetStream`, such as `NetStream.Publish.BadName` (in use or not acceptable),
    /// `NetStream.Publish.Denied`, `NetStream.Play.StreamNotFound`.
    pub code: &'static str,
    /// Text for a person. FFmpeg and OBS show it.
    pub description: String,
    /// Where the client should go instead, `rtmp://host:port/app/stream`: said as `ex: { code: 302, redirect }`, as Flash Media Server and
    /// SRS do. Few clients act on it.
    pub redirect: Option<String>,
}

impl Reject {
    /// A rejection with a code and a text.
    pub fn new(code: &'static str, description: impl Into<String>) -> Self {
        Reject {
            code,
            description: description.into(),
            redirect: None,
        }
    }

    /// A rejection that says where the stream is: `NetConnection.Connect.Rejected`.
    pub fn redirect(url: impl Into<String>) -> Self {
        let url = url.into();
        Reject {
            code: "NetConnection.Connect.Rejected",
            // Most clients follow no redirect, but show this.
            description: format!("The stream is elsewhere: {url}"),
            redirect: Some(url),
        }
    }
}
