//! Why another server gave or took no stream, and what that says to those who wait for it.

use std::time::Duration;

use thiserror::Error;

use crate::media::TagError;
use crate::media::flv::FlvError;
use crate::rtmp::ClientError;

/// Why a connection to another server brought nothing, or no more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Its name cannot be resolved.
    #[error("{host} cannot be resolved: {reason}")]
    Resolve { host: String, reason: String },
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It closed the connection before it was through.
    #[error("the server closed the connection")]
    Closed,
    /// It took the request and closed the connection before it sent anything of the stream: over RTMP, when it had accepted the play.
    #[error("the server took the request and closed the connection without a word")]
    TurnedAway,
    /// It did not do something in time.
    #[error("{what} took longer than {after:?}")]
    Slow { what: &'static str, after: Duration },
    /// No frame came.
    #[error("no frame for {0:?}")]
    Stalled(Duration),
    /// It broke RTMP, or refused in RTMP.
    #[error(transparent)]
    Rtmp(#[from] ClientError),
    /// It answered HTTP with something else than a stream.
    #[error("HTTP status {0}")]
    Status(u16),
    /// It answered a publish over HTTP that it takes none: 405 or 501.
    #[error("it takes no publishers (HTTP status {0})")]
    TakesNone(u16),
    /// It answered a publish over HTTP with 409: the stream is being published there already.
    #[error("the stream is being published there already")]
    Taken,
    /// HTTP broke.
    #[error("{0}")]
    Http(String),
    /// What it sent is no FLV.
    #[error("the body is no FLV: {0}")]
    Flv(#[from] FlvError),
    /// What it sent breaks a codec's format.
    #[error("a tag broke its format: {0}")]
    Media(#[from] TagError),
    /// It points to others that point to others.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// It points to what is no address of a stream.
    #[error("a redirect to {0:?}, which is no address of a stream")]
    BadRedirect(String),
    /// It is well, but a reload took it out of the configuration.
    #[error("it is no longer configured")]
    Removed,
    /// It gives the stream, which cannot be had here.
    #[error("the stream cannot be published here: {0}")]
    Unclaimed(String),
    /// The stream is over there, properly.
    #[error("the stream ended there")]
    Ended,
}

/// What a server that is well says of a stream that it does not give: the word of the origin, which its edge passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Answer {
    /// 401
    #[error("the origin wants credentials")]
    Unauthorized,
    /// 403, and RTMP's Rejected, Denied and Failed.
    #[error("the origin refuses it")]
    Forbidden,
    /// 404, and RTMP's StreamNotFound.
    #[error("the origin has no such stream")]
    Missing,
    /// 405, to a publish: it is no server for publishers.
    #[error("the origin takes no publishers")]
    TakesNone,
    /// 409, to a publish, and RTMP's BadName.
    #[error("the stream is being published already, at the origin")]
    Taken,
    /// 508 (RFC 5842 §7.2): the origin asks, perhaps by others, the one that asks it.
    #[error("{LOOP}")]
    Loop,
    /// No origin answers.
    #[error("no origin answers")]
    Away,
}

impl Answer {
    /// Which of the words of several origins counts: the greatest.
    pub(crate) fn gravity(self) -> u8 {
        match self {
            Self::Away => 0,
            Self::TakesNone => 1,
            Self::Missing => 2,
            Self::Taken => 3,
            Self::Forbidden => 4,
            Self::Unauthorized => 5,
            Self::Loop => 6,
        }
    }

    /// As an HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Missing => 404,
            Self::TakesNone => 405,
            Self::Taken => 409,
            Self::Loop => 508,
            Self::Away => 502,
        }
    }
}

/// Said by a node of the node whose relay it refuses, since the stream would come from itself. RTMP has no code for it.
pub(crate) const LOOP: &str = "the relay would go in a circle";

/// RTMP has no code for what is 401 over HTTP: the words of this server, as a node of its own kind says them.
const WANTS_CREDENTIALS: [&str; 2] = ["a signed URL is needed", "the origin wants credentials"];

/// Nor for what is 503: a node whose back end does not answer says so. It is no word of the origin on the stream; another may know.
const NOT_NOW: &str = "try again later";

impl Failure {
    /// HTTP broke. pingora's text of an error that nobody in particular caused begins with a space.
    pub(crate) fn http(error: &pingora::Error) -> Self {
        Self::Http(error.to_string().trim().to_owned())
    }

    /// What the server's word says to those who wait for the stream; nothing when it is the server that failed.
    pub(crate) fn answer(&self) -> Option<Answer> {
        match self {
            Self::Status(401) => Some(Answer::Unauthorized),
            Self::Status(403) => Some(Answer::Forbidden),
            Self::Status(404 | 410) => Some(Answer::Missing),
            Self::Status(508) => Some(Answer::Loop),
            Self::TakesNone(_) => Some(Answer::TakesNone),
            Self::Taken => Some(Answer::Taken),
            Self::Rtmp(ClientError::Refused { code, description }) => match code.as_str() {
                _ if description.contains(LOOP) => Some(Answer::Loop),
                _ if WANTS_CREDENTIALS
                    .iter()
                    .any(|words| description.contains(words)) =>
                {
                    Some(Answer::Unauthorized)
                }
                _ if description.contains(NOT_NOW) => None,
                "NetStream.Play.StreamNotFound" => Some(Answer::Missing),
                "NetConnection.Connect.Rejected"
                | "NetConnection.Connect.Failed"
                | "NetStream.Play.Failed"
                | "NetStream.Play.Denied"
                | "NetStream.Publish.Denied" => Some(Answer::Forbidden),
                "NetStream.Publish.BadName" => Some(Answer::Taken),
                _ => None,
            },
            _ => None,
        }
    }
}
