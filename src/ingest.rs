//! What all publishers have in common, whatever protocol brings them: the claim, the clocks, the lines in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;
use tracing::{Span, info};

use crate::access::{Ask, Denied, Grant};
use crate::client::Client;
use crate::clients::{Presence, Purpose};
use crate::cluster::LeaseUse;
use crate::config::{Action, OnBusy, Publish, Vhost};
use crate::hub::{
    Counters, EndReason, PublishError, Publisher, PushError, Source, Stream, StreamKey,
};
use crate::media::FrameKind;
use crate::observe::{Asked, Count, Reason};
use crate::play::{Live, millis};
use crate::relay::{Answer, EdgePush, LOOP, PushOver};
use crate::vhost;

/// Servers without a GOP cache, such as nginx-rtmp, send sound at once and the picture from their next keyframe on: players are held that
/// long for a picture that is announced, or they would be told of a stream without one.
const MIDWAY: Duration = Duration::from_secs(3);

/// How long a publisher's bytes are counted before they are judged: keyframes are large, and encoders hurry after a stall.
const BITRATE_WINDOW: Duration = Duration::from_secs(5);

/// A publish that is under way. Dropping it gives the stream back and writes the publish's line.
pub(crate) struct Ingest {
    live: Live,
    /// Set until the end.
    publisher: Option<Publisher>,
    grant: Grant,
    /// The node's lease on the stream, where nodes share a registry. Given back at the end.
    _lease: Option<LeaseUse>,
    presence: Presence,
    /// Bytes of tag bodies that were taken.
    bytes: u64,
    /// Since when, and from which of `bytes` on, the bitrate is measured; a pull's is its origin's affair.
    window: Option<(Instant, u64)>,
    /// At an edge: what takes it on to the origin.
    push: Option<EdgePush>,
    span: Span,
    since: Instant,
    last_media: Option<Instant>,
    announced: bool,
    reason: &'static str,
}

/// Why a publish cannot begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Refused {
    /// The app or stream name is none.
    #[error(transparent)]
    Name(#[from] crate::hub::NameError),
    /// The client may not. The reason is for the log.
    #[error("{}", .0.told())]
    Denied(#[from] Denied),
    /// The vhost is off.
    #[error("the vhost {0} is disabled")]
    Disabled(String),
    /// Another node of the registry has the stream.
    #[error("the stream is being published already, on the node {0}")]
    Elsewhere(String),
    /// An operator does not let the stream be published.
    #[error("the stream is blocked")]
    Blocked,
    /// The hub does not give the claim.
    #[error(transparent)]
    Claim(#[from] PublishError),
    /// It is a relay that has come through this node already.
    #[error("{LOOP}")]
    Loop,
    /// This is an edge, and no origin takes the stream.
    #[error(transparent)]
    Origin(#[from] Answer),
}

impl Refused {
    fn reason(&self) -> Reason {
        match self {
            Self::Denied(denied) => denied.denial().into(),
            Self::Elsewhere(_) => Reason::Elsewhere,
            Self::Name(_) | Self::Disabled(_) => Reason::Name,
            Self::Blocked => Reason::Blocked,
            Self::Loop => Reason::Loop,
            Self::Origin(_) => Reason::Origin,
            Self::Claim(PublishError::Busy { .. }) => Reason::Busy,
            Self::Claim(PublishError::TooManyStreams { .. }) => Reason::Streams,
            Self::Claim(PublishError::Shutdown) => Reason::Shutdown,
        }
    }
}

/// Why the server ends a publish.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Ended {
    /// `firstpkt_timeout`.
    #[error("no media in {0:?} after publish")]
    FirstPacket(Duration),
    /// `normal_timeout`.
    #[error("no media for {0:?}")]
    Silent(Duration),
    /// The URL that let it in (`tokens.publish.on_expiry`).
    #[error("the signed URL expired")]
    Expired,
    /// `limits.publish_kbps`.
    #[error("more than {0} kbit/s")]
    TooFast(u32),
    /// The claim was taken.
    #[error("{}", told(*.0))]
    Claim(EndReason),
    /// This is an edge, and no origin takes the stream any more.
    #[error("no origin takes the stream any more")]
    Origin,
}

impl Ended {
    /// The name in logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::FirstPacket(_) => "firstpkt_timeout",
            Self::Silent(_) => "normal_timeout",
            Self::Expired => "expired",
            Self::TooFast(_) => "too_fast",
            Self::Claim(reason) => reason.name(),
            Self::Origin => "origin_lost",
        }
    }
}

/// What a publisher is told whose claim is taken.
pub(crate) fn told(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Kicked => "another publisher took the stream",
        EndReason::Operator => "an operator ended the publish",
        EndReason::Idle => "nobody plays the stream",
        _ => "the server is shutting down",
    }
}

/// Who publishes what, as a client named it.
pub(crate) struct Wanted<'a> {
    pub(crate) client: &'a Client,
    /// The vhost's name: a query parameter, or the host.
    pub(crate) vhost: &'a str,
    pub(crate) app: &'a str,
    pub(crate) stream: &'a str,
    /// What the encoder calls itself.
    pub(crate) encoder: Option<&'a str>,
}

impl Ingest {
    /// Claims the stream. The current span gets its name.
    pub(crate) async fn begin(live: &Live, wanted: &Wanted<'_>) -> Result<Self, Refused> {
        let (publisher, push, grant, lease) = match Self::claim(live, wanted).await {
            Ok(claimed) => claimed,
            Err(Refused::Denied(denied)) => return Err(Refused::Denied(denied)),
            Err(refused) => {
                info!(
                    app = wanted.app,
                    stream = wanted.stream,
                    "publish refused: {refused}"
                );
                live.counters().count(Count::PublishRefused);
                live.counters()
                    .turned_away(Asked::Publish, refused.reason());
                return Err(refused);
            }
        };
        let span = Span::current();
        let key = publisher.stream().key();
        span.record("vhost", key.vhost());
        span.record("app", key.app());
        span.record("stream", key.stream());
        let Client {
            protocol,
            page,
            url,
            ..
        } = wanted.client;
        info!(
            encoder = wanted.encoder,
            protocol, url, page, "publish started"
        );
        live.counters().count(Count::Publish);
        let presence =
            live.clients()
                .enter(wanted.client.clone(), key.clone(), Purpose::Publish, false);
        Ok(Self {
            presence,
            bytes: 0,
            live: live.clone(),
            publisher: Some(publisher),
            grant,
            _lease: lease,
            push,
            span,
            since: Instant::now(),
            window: Some((Instant::now(), 0)),
            last_media: None,
            announced: false,
            // What it is when nobody says otherwise: the runtime went away under it.
            reason: "shutdown",
        })
    }

    /// Asks whether the client may, and then for the stream: who may not must not disturb who is there.
    async fn claim(
        live: &Live,
        wanted: &Wanted<'_>,
    ) -> Result<(Publisher, Option<EdgePush>, Grant, Option<LeaseUse>), Refused> {
        let (vhost, settings) = live.vhosts().resolve(vhost::without_port(wanted.vhost));
        if !settings.enabled {
            return Err(Refused::Disabled(vhost));
        }
        let key = StreamKey::new(&vhost, wanted.app, wanted.stream)?;
        let ask = Ask {
            action: Action::Publish,
            client: wanted.client,
            key: &key,
            settings: &settings,
        };
        if live.is_blocked(&key) {
            return Err(Refused::Blocked);
        }
        let denied = |denied: Denied| {
            live.denied(&denied, Action::Publish, wanted.client, &key);
            Refused::Denied(denied)
        };
        let gate = live.gate();
        let mut grant = gate.judge(ask).map_err(denied)?;
        let relay = live.relay();
        if relay.is_loop(wanted.client) {
            live.counters().count(Count::RelayLoop);
            return Err(Refused::Loop);
        }
        let take = settings.publish.on_busy == OnBusy::Kick;
        // A back end that was asked takes the stream for published by the newcomer, and would be told of its end; an origin would say
        // that it is taken by the publisher that is here: whoever cannot have the stream anyway is refused before. Where the newcomer
        // takes it from somebody, it has to be allowed to first.
        if take {
            grant = gate.ask(grant, ask).await.map_err(denied)?;
        } else if live.hub().is_published(&key) && !relay.is_pulled(&key) {
            return Err(PublishError::Busy { key }.into());
        }
        let lease = match live.cluster() {
            Some(cluster) => {
                let lease = cluster.claim(&key, take).await;
                Some(lease.map_err(|holder| Refused::Elsewhere(holder.node))?)
            }
            None => None,
        };
        if !take {
            grant = gate.ask(grant, ask).await.map_err(denied)?;
        }
        let taken = relay.publish(&key, wanted.client).await?;
        // What was pulled is published here now. Its players stay.
        relay.yield_pull(&key).await;
        let publisher = live.hub().publish(key, &settings, Instant::now())?;
        // It may have been blocked while others were asked.
        if live.is_blocked(publisher.stream().key()) {
            return Err(Refused::Blocked);
        }
        let stream = publisher.stream();
        let push = taken.and_then(|taken| taken.start(live, stream));
        relay.forward(live, stream, wanted.client);
        Ok((publisher, push, grant, lease))
    }

    /// Claims the stream for a pull of this server's own, which nobody has to let in. `on_busy`: what becomes of a publisher that is there.
    pub(crate) fn relay(
        live: &Live,
        key: &StreamKey,
        settings: &Arc<Vhost>,
        origin: &str,
        on_busy: OnBusy,
    ) -> Result<Self, PublishError> {
        let publisher = live
            .hub()
            .claim(key.clone(), settings, on_busy, Instant::now())
            .inspect_err(|_| live.counters().count(Count::PublishRefused))?;
        // A copy is no stream of this node's own.
        Ok(Self::pulled(live, publisher, puller(live, origin), None))
    }

    /// Claims the stream for a pull that an operator wants: it is a stream of this server's own, which nobody is disturbed for.
    pub(crate) async fn order(
        live: &Live,
        key: &StreamKey,
        settings: &Arc<Vhost>,
        origin: &str,
    ) -> Result<Self, Refused> {
        if live.is_blocked(key) {
            return Err(Refused::Blocked);
        }
        if live.hub().is_published(key) {
            return Err(PublishError::Busy { key: key.clone() }.into());
        }
        let lease = match live.cluster() {
            Some(cluster) => {
                let lease = cluster.claim(key, false).await;
                Some(lease.map_err(|holder| Refused::Elsewhere(holder.node))?)
            }
            None => None,
        };
        let publisher = live.hub().publish(key.clone(), settings, Instant::now())?;
        let client = puller(live, origin);
        live.relay().forward(live, publisher.stream(), &client);
        Ok(Self::pulled(live, publisher, client, lease))
    }

    fn pulled(live: &Live, publisher: Publisher, client: Client, lease: Option<LeaseUse>) -> Self {
        publisher.wait_for_tracks(MIDWAY);
        info!(origin = client.url, protocol = "pull", "publish started");
        live.counters().count(Count::Publish);
        let key = publisher.stream().key();
        let presence = live
            .clients()
            .enter(client, key.clone(), Purpose::Publish, false);
        Self {
            presence,
            bytes: 0,
            live: live.clone(),
            publisher: Some(publisher),
            grant: Grant::default(),
            push: None,
            _lease: lease,
            span: Span::current(),
            since: Instant::now(),
            window: None,
            last_media: None,
            announced: false,
            reason: "shutdown",
        }
    }

    /// What comes from now on is of another origin: time goes on, and players with it from the next keyframe.
    pub(crate) fn renew(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.renew(Instant::now());
        }
    }

    /// The stream, while there is a claim.
    pub(crate) fn stream(&self) -> Option<Arc<Stream>> {
        self.publisher.as_ref().map(|p| Arc::clone(p.stream()))
    }

    /// Why the claim is gone, if it is. Whoever asks does so a few times a second: what came is noted for the API then, and not with
    /// each frame, for it is a cache line that others read.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.presence.card().note_published(self.bytes);
        if self.presence.card().is_kicked() {
            return Some(EndReason::Operator);
        }
        self.publisher.as_ref().and_then(Publisher::ended)
    }

    /// Takes one tag body, which came at `now`.
    pub(crate) fn push(
        &mut self,
        kind: FrameKind,
        timestamp: u32,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), PushError> {
        let Some(publisher) = &self.publisher else {
            return Ok(());
        };
        if matches!(kind, FrameKind::Audio | FrameKind::Video) {
            self.last_media = Some(now);
        }
        let bytes = payload.len() as u64;
        publisher.push(kind, timestamp, payload, now)?;
        self.bytes += bytes;
        if !self.announced && publisher.stream().is_ready() {
            self.announced = true;
            let _in = self.span.enter();
            info!("stream ready: {}", publisher.stream().summary());
        }
        Ok(())
    }

    /// How long what comes may lie about while nobody reads the stream (`publish.lazy_read`).
    pub(crate) fn lazy_read(&self) -> Duration {
        let stream = self.publisher.as_ref().map(Publisher::stream);
        stream.map_or(Duration::ZERO, |stream| stream.settings().publish.lazy_read)
    }

    /// Whether nobody reads the stream, nor waits for it. Then `source` is told when that is over, once.
    pub(crate) fn is_unread(&self, source: Arc<dyn Source>) -> bool {
        let publisher = self.publisher.as_ref();
        publisher.is_some_and(|publisher| publisher.is_unread(source))
    }

    /// It is read at once again, though nobody reads the stream.
    pub(crate) fn forget_source(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.forget_source();
        }
    }

    /// Looks at the clocks and the claim.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Ended> {
        let Some(publisher) = &self.publisher else {
            return Ok(());
        };
        if let Some(reason) = self.ended() {
            return Err(Ended::Claim(reason));
        }
        match self.push.as_ref().and_then(EdgePush::over) {
            Some(PushOver::NotTaken) => return Err(Ended::Origin),
            Some(PushOver::GivenAway) => return Err(Ended::Claim(EndReason::Kicked)),
            None => {}
        }
        if self.grant.until().is_some_and(|until| now >= until) {
            return Err(Ended::Expired);
        }
        let limit = self.live.config().limits.publish_kbps;
        if let Some((since, bytes)) = self.window
            && let over = now.saturating_duration_since(since)
            && over >= BITRATE_WINDOW
        {
            self.window = Some((now, self.bytes));
            // Kilobits a second are bits a millisecond.
            let allowed = u64::from(limit).saturating_mul(millis(over)) / 8;
            if limit > 0 && self.bytes.saturating_sub(bytes) > allowed {
                return Err(Ended::TooFast(limit));
            }
        }
        let Publish {
            firstpkt_timeout,
            normal_timeout,
            ..
        } = publisher.stream().settings().publish;
        match self.last_media {
            None if now.saturating_duration_since(self.since) >= firstpkt_timeout => {
                Err(Ended::FirstPacket(firstpkt_timeout))
            }
            Some(last) if now.saturating_duration_since(last) >= normal_timeout => {
                Err(Ended::Silent(normal_timeout))
            }
            _ => Ok(()),
        }
    }

    /// Ends it for `reason`, a name for the log.
    pub(crate) fn finish(mut self, reason: &'static str) {
        self.reason = reason;
    }

    /// As [`Ingest::finish`], and the stream ends with it: nobody is held for another publisher.
    pub(crate) fn finish_stream(mut self, reason: &'static str) {
        self.reason = reason;
        let stream = self.stream();
        let live = self.live.clone();
        drop(self);
        if let Some(stream) = stream {
            live.hub().end_unpublished(&stream);
        }
    }
}

/// The client that a pull is.
fn puller(live: &Live, origin: &str) -> Client {
    Client {
        url: origin.to_owned(),
        ..Client::of_ours("pull", live.next_client())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let Some(publisher) = self.publisher.take() else {
            return;
        };
        let Counters {
            video_frames,
            audio_frames,
            bytes,
            dropped,
        } = publisher.finish();
        // After the last frames are in the log that it reads.
        self.push = None;
        self.live.counters().publish_ended(bytes);
        if self.presence.card().is_kicked() {
            self.live.counters().count(Count::Kick);
        }
        let _in = self.span.enter();
        info!(
            duration_ms = millis(self.since.elapsed()),
            bytes,
            video_frames,
            audio_frames,
            dropped,
            reason = self.reason,
            "publish ended"
        );
    }
}
