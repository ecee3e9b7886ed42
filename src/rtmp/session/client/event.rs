//! What a client session tells.

use bytes::Bytes;
use thiserror::Error;

use crate::rtmp::error::ProtocolError;
use crate::rtmp::event::MediaKind;

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server accepted: the stream plays, or is waited for by the server. Once, and before any other event.
    Started,
    /// Audio or video of the stream that plays.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV audio or video tag body as it came; never empty.
        payload: Bytes,
    },
    /// Metadata and other script data of the stream that plays.
    Data {
        /// `onMetaData` and so on.
        name: String,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// An FLV script tag body: the name as an AMF0 string, then the values, which are not checked.
        payload: Bytes,
    },
    /// The server said that the stream which played is over. The connection may stay.
    Ended {
        /// The server's code, such as `NetStream.Play.UnpublishNotify`.
        code: String,
    },
}

/// Why a client session ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server broke the protocol, or was too slow.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server refused, or ended what it had accepted.
    #[error("the server says {code}: {description}")]
    Refused {
        /// The server's own code, such as `NetStream.Play.StreamNotFound`; what the command was when it gave none.
        code: String,
        /// The server's own words, which may be none.
        description: String,
    },
    /// The stream is at another address.
    #[error("the server points to {url}")]
    Redirected {
        /// Where: `rtmp://host:port/app`, in some servers with the stream.
        url: String,
    },
}
