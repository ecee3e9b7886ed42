//! A stream that goes to another server, whatever the protocol.

use crate::rtmp::Purpose;

use super::dial::Dialer;
use super::failure::Failure;
use super::post::Post;
use super::rtmp::Rtmp;
use super::source::{Ask, Packet, open_rtmp};
use super::target::Target;

/// A server that takes a stream.
pub(crate) enum Sink {
    Rtmp(Box<Rtmp>),
    Post(Box<Post>),
}

impl Sink {
    /// Asks a server to take a stream; returns once it said that it does.
    pub(crate) async fn open(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<Self, Failure> {
        if target.scheme.is_rtmp() {
            let rtmp = open_rtmp(dialer, target, ask, Purpose::Publish).await?;
            Ok(Sink::Rtmp(Box::new(rtmp)))
        } else {
            let post = Post::open(dialer, target, ask).await?;
            Ok(Sink::Post(Box::new(post)))
        }
    }

    /// Sends frames, all that are there at once. Not to be dropped before it is done: half a message may be out.
    pub(crate) async fn publish(&mut self, packets: &[Packet]) -> Result<(), Failure> {
        match self {
            Sink::Rtmp(rtmp) => rtmp.publish(packets).await,
            Sink::Post(post) => post.publish(packets).await,
        }
    }

    /// Hears what the server has to say meanwhile; never returns but with the end. Dropping the future loses nothing.
    pub(crate) async fn listen(&mut self) -> Failure {
        match self {
            Sink::Rtmp(rtmp) => rtmp.listen().await,
            Sink::Post(post) => post.listen().await,
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        match self {
            Sink::Rtmp(rtmp) => rtmp.close().await,
            Sink::Post(post) => post.close().await,
        }
    }
}
