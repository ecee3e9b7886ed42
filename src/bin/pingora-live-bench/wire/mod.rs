//! What is said over a connection, without sockets and without a clock: requests out, tags in.

mod frames;
mod http;
mod http2;
mod rtmp;
mod websocket;

use bytes::{Bytes, BytesMut};
use pingora_live::media::flv::{FlvReader, SIGNATURE};

use crate::feed::Tag;
use crate::target::{Scheme, Target};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Play,
    Publish,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Event {
    /// The server accepted: a publisher may send media.
    MayPublish,
    /// A tag of the stream: FLV's type, its timestamp, its body.
    Tag(u8, u32, Bytes),
    /// Bytes of a stream that is not FLV.
    Opaque,
    /// One of several streams of a connection is over. The others go on.
    Over(Trouble),
}

/// Why a conversation cannot go on. The text is what reports count by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble(pub(crate) String);

impl Trouble {
    pub(crate) fn closed() -> Self {
        Self("the server closed the connection".to_owned())
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// One side of a conversation.
pub(crate) enum Wire {
    Http(http::Http),
    Http2(Box<http2::Http2>),
    WebSocket(websocket::WebSocket),
    Rtmp(Box<rtmp::Rtmp>),
}

impl Wire {
    /// A conversation with `targets`, and what it begins with. Only HTTP/2 has more than one.
    pub(crate) fn new(targets: &[Target], role: Role) -> Result<(Self, Vec<u8>), Trouble> {
        let target = targets
            .first()
            .ok_or_else(|| Trouble("no address".to_owned()))?;
        Ok(match target.scheme {
            Scheme::Http => {
                let (http, hello) = http::Http::new(target, role);
                (Self::Http(http), hello)
            }
            Scheme::Http2 => {
                let (http2, hello) = http2::Http2::new(targets)?;
                (Self::Http2(Box::new(http2)), hello)
            }
            Scheme::Ws => {
                let (websocket, hello) = websocket::WebSocket::new(target);
                (Self::WebSocket(websocket), hello)
            }
            Scheme::Rtmp => {
                let (rtmp, hello) = rtmp::Rtmp::new(target, role);
                (Self::Rtmp(Box::new(rtmp)), hello)
            }
        })
    }

    /// Takes what came; appends what is to be sent to `out`, and tells `sink` which target's it was, and what.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(usize, Event),
    ) -> Result<(), Trouble> {
        let mut only = |event| sink(0, event);
        match self {
            Self::Http(http) => http.feed(bytes, &mut only),
            Self::Http2(http2) => http2.feed(bytes, out, sink),
            Self::WebSocket(websocket) => websocket.feed(bytes, out, &mut only),
            Self::Rtmp(rtmp) => rtmp.feed(bytes, out, &mut only),
        }
    }

    /// Appends a tag as this conversation sends it.
    pub(crate) fn send(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        match self {
            Self::Http(http) => http.send(tag, out),
            // They only play.
            Self::Http2(_) | Self::WebSocket(_) => {}
            Self::Rtmp(rtmp) => rtmp.send(tag, out),
        }
    }

    /// Whether what comes must be read though nobody looks at bodies: several streams are in it, and questions that want an answer.
    pub(crate) fn must_read(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Takes what came, and looks no further into it than it must. From the first time on, it is not fed any more.
    pub(crate) fn skim(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(usize, Event),
    ) -> Result<(), Trouble> {
        match self {
            Self::Http2(http2) => http2.skim(bytes, out, sink),
            Self::Http(_) | Self::WebSocket(_) | Self::Rtmp(_) => Ok(()),
        }
    }

    /// Appends what a server wants to hear of `received` bytes that nobody read.
    pub(crate) fn discarded(&mut self, received: usize, out: &mut Vec<u8>) {
        match self {
            Self::Rtmp(rtmp) => rtmp.discarded(received, out),
            Self::Http(_) | Self::Http2(_) | Self::WebSocket(_) => {}
        }
    }

    /// Appends the proper end of a publish.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Http(http) => http.finish(out),
            Self::Http2(_) | Self::WebSocket(_) => {}
            Self::Rtmp(rtmp) => rtmp.finish(out),
        }
    }
}

/// A body: FLV is read tag by tag, anything else is counted.
#[derive(Default)]
enum Body {
    /// The first bytes, until they say what it is.
    #[default]
    Unknown,
    Begun(BytesMut),
    Flv(Box<FlvReader>),
    Opaque,
}

impl Body {
    fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Event)) -> Result<(), Trouble> {
        match self {
            Self::Unknown => {
                *self = Self::Begun(BytesMut::new());
                self.feed(bytes, sink)
            }
            Self::Begun(begin) => {
                begin.extend_from_slice(bytes);
                if begin.len() < SIGNATURE.len() {
                    return Ok(());
                }
                let begin = begin.split();
                *self = if begin.starts_with(&SIGNATURE) {
                    Self::Flv(Box::new(FlvReader::new()))
                } else {
                    Self::Opaque
                };
                self.feed(&begin, sink)
            }
            Self::Flv(reader) => {
                reader.feed(bytes);
                while let Some(tag) = reader.poll()? {
                    sink(Event::Tag(tag.kind, tag.timestamp_ms, tag.body));
                }
                if reader.mismatches() > 0 {
                    return Err(Trouble("a PreviousTagSize is wrong".to_owned()));
                }
                Ok(())
            }
            Self::Opaque => {
                sink(Event::Opaque);
                Ok(())
            }
        }
    }
}
