//! RTMP connections to other servers: the driver of a client session.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};

use crate::media::{FrameKind, metadata};
use crate::rtmp::amf0::Value;
use crate::rtmp::{ClientConfig, ClientEvent, ClientSession, MediaKind, Purpose};

use super::dial::Dialer;
use super::failure::Failure;
use super::source::{Ask, Packet};
use super::target::Target;

/// How long a server may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connection on which a stream plays or is published.
pub(crate) struct Rtmp {
    io: Stream,
    session: ClientSession,
    /// Events that came and were not asked for yet.
    events: VecDeque<ClientEvent>,
    /// When the server accepted, until it sent something of the stream.
    quiet_since: Option<Instant>,
}

impl Rtmp {
    /// Connects and asks; returns once the server accepted.
    pub(crate) async fn open(
        dialer: &Dialer,
        target: &Target,
        ask: &Ask,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let io = dialer.stream(target, ask.address, &ask.terms).await?;
        let (app, _) = target.app_and_stream();
        let mut config = ClientConfig::new(purpose, app, target.tc_url(), target.name());
        config.page_url.clone_from(&ask.page);
        config
            .properties
            .push(("via".to_owned(), Value::from(ask.via.as_str())));
        let mut rtmp = Rtmp {
            io,
            session: ClientSession::new(config, Instant::now()),
            events: VecDeque::new(),
            quiet_since: None,
        };
        loop {
            match rtmp.events.pop_front() {
                Some(ClientEvent::Started) => {
                    rtmp.quiet_since = Some(Instant::now());
                    return Ok(rtmp);
                }
                Some(_) => {}
                None => {
                    let deadline = rtmp.session.deadline();
                    rtmp.hear(deadline).await?;
                }
            }
        }
    }

    /// Waits for something of the stream that plays, which stays to be asked for; false when `until` or its end comes first.
    ///
    /// SRS accepts each play before it asks its callbacks and looks where the stream is. Then it points elsewhere, or closes the connection
    /// without a word.
    pub(crate) async fn begins(&mut self, until: Instant) -> Result<bool, Failure> {
        loop {
            match self.events.front() {
                Some(ClientEvent::Media { .. } | ClientEvent::Data { .. }) => return Ok(true),
                Some(ClientEvent::Ended { .. }) => return Ok(false),
                Some(ClientEvent::Started) => {
                    self.events.pop_front();
                }
                None => match self.hear(Some(until)).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(Failure::Closed) => return Err(Failure::TurnedAway),
                    // With something unread of ours.
                    Err(Failure::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
                        return Err(Failure::TurnedAway);
                    }
                    Err(failure) => return Err(failure),
                },
            }
        }
    }

    /// Since when the server has accepted and sent nothing of the stream.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        self.quiet_since
    }

    /// The next frame of a stream that plays; none when `until` comes first.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Option<Packet>, Failure> {
        loop {
            match self.events.pop_front() {
                Some(ClientEvent::Media {
                    kind,
                    timestamp,
                    payload,
                }) => {
                    self.quiet_since = None;
                    let kind = match kind {
                        MediaKind::Audio => FrameKind::Audio,
                        MediaKind::Video => FrameKind::Video,
                    };
                    return Ok(Some(Packet {
                        kind,
                        timestamp,
                        payload,
                    }));
                }
                Some(ClientEvent::Data {
                    timestamp, payload, ..
                }) => {
                    self.quiet_since = None;
                    let (kind, payload) = metadata::classify(&payload);
                    return Ok(Some(Packet {
                        kind,
                        timestamp,
                        payload,
                    }));
                }
                Some(ClientEvent::Ended { .. }) => return Err(Failure::Ended),
                Some(_) => {}
                None => {
                    if !self.hear(Some(until)).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Publishes frames, all that are there at once.
    pub(crate) async fn publish(&mut self, packets: &[Packet]) -> Result<(), Failure> {
        for packet in packets {
            let Packet {
                kind,
                timestamp,
                payload,
            } = packet;
            match kind {
                FrameKind::Audio => {
                    self.session
                        .publish_media(MediaKind::Audio, *timestamp, payload)
                }
                FrameKind::Video => {
                    self.session
                        .publish_media(MediaKind::Video, *timestamp, payload)
                }
                FrameKind::Metadata | FrameKind::Data => {
                    self.session.publish_data(*timestamp, payload);
                }
            }
        }
        self.flush().await
    }

    /// Hears what the server has to say while something is published; never returns but with the end.
    pub(crate) async fn listen(&mut self) -> Failure {
        loop {
            match self.hear(None).await {
                Ok(_) => self.events.clear(),
                Err(failure) => return failure,
            }
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        self.session.close();
        let goodbye = async {
            self.flush().await?;
            self.io.shutdown().await?;
            Ok::<_, Failure>(())
        };
        // Whether it hears it is its affair.
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// Sends what is due and reads once. False when `until` came first.
    ///
    /// Dropping the future loses nothing as long as it only reads, which it does unless the server does not read.
    async fn hear(&mut self, until: Option<Instant>) -> Result<bool, Failure> {
        // What ended the session behind events that were polled, or by the clock.
        self.session.handle_timeout(Instant::now())?;
        self.flush().await?;
        let input = self.session.input();
        let read = match until {
            None => self.io.read_buf(input).await,
            Some(until) => match timeout_at(until.into(), self.io.read_buf(input)).await {
                Ok(read) => read,
                Err(_) => return Ok(false),
            },
        };
        if read? == 0 {
            return Err(Failure::Closed);
        }
        let handled = self.session.handle_input(Instant::now());
        // What came before an error counts.
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
        if handled.is_err() && self.events.is_empty() {
            handled?;
        }
        self.flush().await?;
        Ok(true)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let write = async {
            let mut wrote = false;
            while let Some(bytes) = self.session.poll_output() {
                self.io.write_all(&bytes).await?;
                wrote = true;
            }
            if wrote {
                self.io.flush().await?;
            }
            Ok::<_, std::io::Error>(())
        };
        match timeout(WRITE_TIMEOUT, write).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Failure::Slow {
                what: "taking what it was sent",
                after: WRITE_TIMEOUT,
            }),
        }
    }
}

/// Whether a server speaks RTMP: it answers the handshake.
pub(super) async fn greets(dialer: &Dialer, target: &Target, ask: &Ask) -> Result<(), Failure> {
    let mut io = dialer.stream(target, ask.address, &ask.terms).await?;
    let mut hello = BytesMut::new();
    let _ = crate::rtmp::handshake::ClientHandshake::start(&mut hello);
    let hello = hello.freeze();
    io.write_all(&hello).await?;
    io.flush().await?;
    let mut answer = [0];
    io.read_exact(&mut answer).await?;
    Ok(())
}
