//! A stream that comes from another server, whatever the protocol.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::media::FrameKind;
use crate::rtmp::{ClientError, Purpose};

use super::dial::{Dialer, Terms};
use super::failure::Failure;
use super::flv::{self, Flv};
use super::rtmp::{self, Rtmp};
use super::target::Target;

/// How many redirects of RTMP servers are followed.
const MAX_REDIRECTS: usize = 3;
/// How long a server that accepted a play may send nothing before it is taken at its word: one that answers in the meantime is
/// asked for the stream instead, and a redirect that comes so late is followed. SRS looks for the stream among its coworkers in it.
const SETTLE: Duration = Duration::from_secs(1);

/// What a server is told besides the stream's address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Where the server was found; its name is resolved otherwise.
    pub(crate) address: Option<SocketAddr>,
    /// The nodes on the way, this one last.
    pub(crate) via: String,
    /// The page that the player is on, empty for none.
    pub(crate) page: String,
    /// How it is connected to.
    pub(crate) terms: Terms,
}

/// One tag body.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) kind: FrameKind,
    /// Milliseconds modulo 2^32, by the server's clock.
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// A stream that plays.
pub(crate) enum Source {
    Rtmp(Box<Rtmp>),
    Flv(Box<Flv>),
}

impl Source {
    /// Asks for a stream; returns once the server said that it plays, or will.
    pub(crate) async fn open(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<Self, Failure> {
        if target.scheme.is_rtmp() {
            let rtmp = open_rtmp(dialer, target, ask, Purpose::Play).await?;
            Ok(Source::Rtmp(Box::new(rtmp)))
        } else {
            let flv = Flv::open(dialer, target, ask).await?;
            Ok(Source::Flv(Box::new(flv)))
        }
    }

    /// Whether the server really lets this client play: where its word is not enough, by what it sends of the stream until then.
    pub(crate) async fn is_given(&mut self, until: Instant) -> Result<bool, Failure> {
        match self {
            Source::Rtmp(rtmp) => rtmp.begins(until).await,
            Source::Flv(_) => Ok(true),
        }
    }

    /// Since when the server has accepted and sent nothing of the stream, if so.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        match self {
            Source::Rtmp(rtmp) => rtmp.quiet_since(),
            Source::Flv(_) => None,
        }
    }

    /// The next frame; none when `until` comes first.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Option<Packet>, Failure> {
        match self {
            Source::Rtmp(rtmp) => rtmp.next(until).await,
            Source::Flv(flv) => flv.next(until).await,
        }
    }

    /// Says that no more is wanted.
    pub(crate) async fn close(self) {
        if let Source::Rtmp(rtmp) = self {
            rtmp.close().await;
        }
    }
}

/// An RTMP connection to where the server, or those that it points to, will have it.
pub(crate) async fn open_rtmp(
    dialer: &Dialer,
    target: &Target,
    ask: &Ask,
    purpose: Purpose,
) -> Result<Rtmp, Failure> {
    let mut target = target.clone();
    let mut ask = ask.clone();
    for _ in 0..=MAX_REDIRECTS {
        let opened = async {
            let mut rtmp = Rtmp::open(dialer, &target, &ask, purpose).await?;
            if purpose == Purpose::Play {
                rtmp.begins(Instant::now() + SETTLE).await?;
            }
            Ok(rtmp)
        };
        match opened.await {
            Err(Failure::Rtmp(ClientError::Redirected { url })) => {
                let next = target
                    .redirected(&url)
                    .ok_or_else(|| Failure::BadRedirect(url.clone()))?;
                tracing::debug!(from = %target, to = %next, "redirected");
                target = next;
                ask.address = None;
            }
            opened => return opened,
        }
    }
    Err(Failure::Redirects(MAX_REDIRECTS))
}

/// Whether a server is there and speaks the protocol.
pub(crate) async fn greets(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<(), Failure> {
    if target.scheme.is_rtmp() {
        rtmp::greets(dialer, target, ask).await
    } else {
        flv::greets(dialer, target, ask).await
    }
}
