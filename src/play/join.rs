//! From a wish to play to a player with a seat: the steps that all protocols share.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::{debug, info};

use crate::access::{Ask, Denied, Farewell, Grant, Traffic};
use crate::client::Client;
use crate::clients::Purpose;
use crate::config::{Action, OnMissing, StartTime, Vhost};
use crate::hub::{Format, Seat, SeatError, Stream, StreamKey};
use crate::observe::{Asked, Count, Reason};
use crate::relay::{Answer, LOOP, Upstream};

use super::Live;
use super::account::{Account, Peer, millis};
use super::elsewhere::{Away, How};
use super::limits::{self, Admission};
use super::player::{Player, Rebase};
use super::transport::Transport;

/// Before a pull is begun anew that ended just so.
const AGAIN: Duration = Duration::from_millis(50);

/// Who wants to play what.
pub(crate) struct Wish {
    pub(crate) key: StreamKey,
    pub(crate) settings: Arc<Vhost>,
    pub(crate) format: Format,
    pub(crate) client: Client,
    /// Whether its request can be proxied to another node.
    pub(crate) may_proxy: bool,
    /// When it was asked: where the time to the first byte begins.
    pub(crate) asked: Instant,
}

impl Wish {
    /// The question whether it may.
    pub(super) fn ask(&self) -> Ask<'_> {
        Ask {
            action: Action::Play,
            client: &self.client,
            key: &self.key,
            settings: &self.settings,
        }
    }
}

/// Why there is no play.
#[derive(Debug, Error)]
pub(crate) enum NoPlay {
    /// A limit of connections.
    #[error(transparent)]
    Connections(#[from] limits::Refusal),
    /// It may not. The reason is for the log.
    #[error("{}", .0.told())]
    Denied(#[from] Denied),
    /// The stream is not there, and did not come in time.
    #[error("no such stream")]
    Missing,
    /// The player gave up first.
    #[error("the player left while it waited")]
    Left,
    /// The server shuts down.
    #[error("the server is shutting down")]
    Shutdown,
    /// An operator ended it while it waited.
    #[error("an operator ended the play")]
    Kicked,
    /// An operator does not let the stream be played.
    #[error("the stream is blocked")]
    Blocked,
    /// A limit of players.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// Another server has the stream, or room.
    #[error("it is to be played from another server")]
    Away(Box<Away>),
    /// What the origin says of it.
    #[error(transparent)]
    Origin(#[from] Answer),
    /// It is a relay that has come through this node already.
    #[error("{LOOP}")]
    Loop,
}

impl NoPlay {
    /// What is counted; nothing for a player that gave up.
    fn reason(&self) -> Option<Reason> {
        Some(match self {
            // Those of the gate are counted where they are told.
            Self::Left | Self::Denied(_) => return None,
            Self::Away(_) => Reason::Elsewhere,
            Self::Connections(refusal) => refusal.reason(),
            Self::Missing | Self::Origin(Answer::Missing) | Self::Seat(SeatError::Ended) => {
                Reason::NotFound
            }
            Self::Origin(_) => Reason::Origin,
            Self::Loop => Reason::Loop,
            Self::Shutdown => Reason::Shutdown,
            Self::Kicked | Self::Blocked => Reason::Blocked,
            Self::Seat(SeatError::Unsupported(_)) => Reason::Format,
            Self::Seat(SeatError::Full { .. }) => Reason::Players,
        })
    }
}

/// A player that lacks nothing but its transport.
pub(crate) struct Joined {
    seat: Seat,
    rebase: Rebase,
    account: Account,
    grant: Grant,
    admission: Admission,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined")
            .field("stream", self.seat.stream().key())
            .finish_non_exhaustive()
    }
}

impl Joined {
    /// Sees the connection off that becomes this player, and counts what is sent on it.
    pub(crate) fn keep(&mut self, farewell: Option<Farewell>, traffic: Arc<Traffic>) {
        self.grant.keep(farewell);
        self.account.traffic = Some(traffic);
    }

    pub(super) fn player(self, transport: Transport) -> Player {
        Player::new(
            transport,
            self.seat,
            self.rebase,
            self.account,
            self.grant,
            self.admission,
        )
    }
}

impl Live {
    /// Waits for the stream as its vhost says, and takes a seat. `left` returns when the player gives up. `admission`: the
    /// connection's place, if it has one already. What is refused is logged and counted here.
    pub(crate) async fn join(
        &self,
        wish: Wish,
        admission: Option<Admission>,
        left: impl Future<Output = ()>,
    ) -> Result<Joined, NoPlay> {
        let result = match self.try_join(&wish, admission, left).await {
            Err(
                full @ (NoPlay::Connections(limits::Refusal::All(_))
                | NoPlay::Seat(SeatError::Full { .. })),
            ) => Err(self
                .find_room(&wish)
                .map_or(full, |away| NoPlay::Away(Box::new(away)))),
            result => result,
        };
        let Wish {
            key, client, asked, ..
        } = wish;
        let peer = Peer(client.peer);
        if let Err(refused) = &result
            && let Some(reason) = refused.reason()
        {
            self.counters().turned_away(Asked::Play, reason);
        }
        match &result {
            Ok(_) => self.counters().count(Count::Play),
            Err(NoPlay::Left) => debug!(%peer, stream = %key, "a player left while it waited"),
            Err(NoPlay::Missing | NoPlay::Origin(Answer::Missing)) => {
                self.counters().count(Count::PlayNotFound);
                info!(%peer, stream = %key, waited_ms = millis(asked.elapsed()), "no such stream");
            }
            Err(NoPlay::Denied(denied)) => self.denied(denied, Action::Play, &client, &key),
            Err(NoPlay::Away(away)) => {
                let (count, how) = match away.how {
                    How::Redirect => (Count::PlayRedirected, "redirect"),
                    How::Overflow => (Count::PlayOverflowed, "overflow"),
                    How::Proxy(_) => (Count::PlayProxied, "proxy"),
                    // Its play is counted, as any of a pulled stream.
                    How::Pull(_) => return result,
                };
                self.counters().count(count);
                info!(%peer, stream = %key, server = away.server, how, "a player goes elsewhere");
            }
            Err(refused) => {
                self.counters().count(Count::PlayRefused);
                info!(%peer, stream = %key, "play refused: {refused}");
            }
        }
        result
    }

    /// Counts a client that may not, and writes the line that says why.
    pub(crate) fn denied(&self, denied: &Denied, action: Action, client: &Client, key: &StreamKey) {
        self.counters().count(match action {
            Action::Play => Count::PlayRefused,
            Action::Publish => Count::PublishRefused,
        });
        self.counters().denied(denied.denial());
        let asked = match action {
            Action::Play => Asked::Play,
            Action::Publish => Asked::Publish,
        };
        self.counters().turned_away(asked, denied.denial().into());
        info!(
            target: "pingora_live::access",
            client = client.id,
            peer = %Peer(client.peer),
            vhost = key.vhost(),
            app = key.app(),
            stream = key.stream(),
            protocol = client.protocol,
            action = action.as_str(),
            by = denied.denial().name(),
            why = %denied,
            reason = "denied",
            "denied"
        );
    }

    async fn try_join(
        &self,
        wish: &Wish,
        admission: Option<Admission>,
        left: impl Future<Output = ()>,
    ) -> Result<Joined, NoPlay> {
        let admission = match admission {
            Some(admission) => admission,
            None => self.admit_player(&wish.client)?,
        };
        if self.is_blocked(&wish.key) {
            return Err(NoPlay::Blocked);
        }
        let grant = self.gate().admit(wish.ask()).await?;
        let presence = self.clients().enter(
            wish.client.clone(),
            wish.key.clone(),
            Purpose::Play(wish.format),
            true,
        );
        let card = Arc::clone(presence.card());
        tokio::pin!(left);
        let seat = loop {
            if self.is_blocked(&wish.key) {
                return Err(NoPlay::Blocked);
            }
            let stream = tokio::select! {
                stream = self.stream_of(wish, left.as_mut()) => stream?,
                () = card.kicked() => return Err(NoPlay::Kicked),
            };
            let most = self.config().limits.players_per_stream as usize;
            match stream.open(wish.format, most) {
                // It ended this very moment: a pull that nobody played, or a publisher that was ended. It may begin again.
                Err(SeatError::Ended) if !self.hub().is_shut_down() => {}
                seat => break seat?,
            }
        };
        presence.begins();
        let account = Account::new(self.shared_counters(), presence, wish.format, wish.asked);
        let rebase = match (wish.settings.play.start_time, wish.format) {
            (StartTime::Zero, Format::Flv) => Rebase::ZeroAtStart,
            _ => Rebase::Stream,
        };
        Ok(Joined {
            seat,
            rebase,
            account,
            grant,
            admission,
        })
    }

    /// What a play would come to now, for a request that wants to know and no more: it does not wait, and uses nothing up.
    pub(super) async fn look(&self, wish: &Wish) -> Result<(), NoPlay> {
        let looked = self.try_look(wish).await;
        if let Err(refused) = &looked
            && let Some(reason) = refused.reason()
        {
            self.counters().turned_away(Asked::Play, reason);
        }
        looked
    }

    async fn try_look(&self, wish: &Wish) -> Result<(), NoPlay> {
        let _admission = self.admit_player(&wish.client)?;
        if self.is_blocked(&wish.key) {
            return Err(NoPlay::Blocked);
        }
        if let Err(denied) = self.gate().look(wish.ask()) {
            self.denied(&denied, Action::Play, &wish.client, &wish.key);
            return Err(denied.into());
        }
        if self.relay().is_loop(&wish.client) {
            return Err(NoPlay::Loop);
        }
        let Some(stream) = self.hub().find(&wish.key) else {
            let away = self.find_elsewhere(wish, false).await;
            return Err(away.map_or(NoPlay::Missing, |away| NoPlay::Away(Box::new(away))));
        };
        stream
            .supports(wish.format)
            .map_err(|why| NoPlay::Seat(why.into()))
    }

    /// The stream, now or within the time that its vhost holds players.
    async fn find_or_wait(
        &self,
        wish: &Wish,
        left: impl Future<Output = ()>,
    ) -> Result<Arc<Stream>, NoPlay> {
        let Wish { key, settings, .. } = wish;
        if let Some(stream) = self.hub().find(key) {
            return Ok(stream);
        }
        // A stream whose publisher was accepted is there, though its first frame may still be on its way.
        if !self.hub().is_published(key) {
            if let Some(away) = self.find_elsewhere(wish, true).await {
                return self.take_elsewhere(wish, away, left).await;
            }
            if settings.play.on_missing == OnMissing::NotFound {
                return Err(NoPlay::Missing);
            }
        }
        tokio::pin!(left);
        let away = tokio::select! {
            here = self.wait_here(wish, left.as_mut()) => return here,
            away = self.appears_elsewhere(wish) => away,
        };
        self.take_elsewhere(wish, away, left).await
    }

    /// The stream, when it comes to this node in time.
    async fn wait_here(
        &self,
        wish: &Wish,
        left: impl Future<Output = ()>,
    ) -> Result<Arc<Stream>, NoPlay> {
        tokio::select! {
            stream = self.hub().wait_for(&wish.key) => stream.ok_or(NoPlay::Shutdown),
            () = tokio::time::sleep(wish.settings.play.wait) => Err(NoPlay::Missing),
            // A player that gives up must not hold its place until the wait is over.
            () = left => Err(NoPlay::Left),
        }
    }

    /// The stream of another node, if it is pulled from there.
    async fn take_elsewhere(
        &self,
        wish: &Wish,
        away: Away,
        left: impl Future<Output = ()>,
    ) -> Result<Arc<Stream>, NoPlay> {
        let How::Pull(node) = &away.how else {
            return Err(NoPlay::Away(Box::new(away)));
        };
        let upstream = self.relay().node_upstream(node, &wish.settings);
        self.pull_or_wait(wish, upstream, left).await
    }

    /// The stream, wherever it comes from.
    async fn stream_of(
        &self,
        wish: &Wish,
        left: impl Future<Output = ()>,
    ) -> Result<Arc<Stream>, NoPlay> {
        if self.relay().is_loop(&wish.client) {
            self.counters().count(Count::RelayLoop);
            return Err(NoPlay::Loop);
        }
        match self.relay().upstream(wish.key.vhost(), &wish.client) {
            Some(upstream) => self.pull_or_wait(wish, upstream, left).await,
            None => self.find_or_wait(wish, left).await,
        }
    }

    /// At an edge: the stream, when it is here or comes from an origin in time.
    async fn pull_or_wait(
        &self,
        wish: &Wish,
        upstream: Arc<Upstream>,
        left: impl Future<Output = ()>,
    ) -> Result<Arc<Stream>, NoPlay> {
        let Wish {
            key,
            settings,
            client,
            ..
        } = wish;
        let relay = self.relay();
        let pulled = relay.is_pulled(key);
        if let Some(stream) = self.hub().find(key) {
            if pulled && upstream.judges_each() {
                tokio::select! {
                    judged = relay.ask(upstream, key, client) => judged?,
                    () = left => return Err(NoPlay::Left),
                }
            }
            return Ok(stream);
        }
        // Published here, and not ready yet.
        if !pulled && self.hub().is_published(key) {
            return self.wait_here(wish, left).await;
        }
        // An origin that hangs is noticed, and another asked, in the time that an origin may be silent.
        let patience = settings.play.wait.max(upstream.patience());
        let late = tokio::time::sleep(patience);
        tokio::pin!(left, late);
        loop {
            let mut waiter = relay.pull(self, Arc::clone(&upstream), key, settings, client);
            tokio::select! {
                stream = self.hub().wait_for(key) => {
                    let stream = stream.ok_or(NoPlay::Shutdown)?;
                    if upstream.judges_each() && !waiter.asked_with(&client.query) {
                        relay.ask(upstream, key, client).await?;
                    }
                    return Ok(stream);
                }
                over = waiter.over() => match over.answer {
                    // The word on another's query is none on this one.
                    Some(Answer::Unauthorized | Answer::Forbidden)
                        if !waiter.asked_with(&client.query) => {}
                    Some(answer) => return Err(answer.into()),
                    None => {
                        // It gave way, or found nobody: this one is somebody.
                        tokio::time::sleep(AGAIN).await;
                        if let Some(stream) = self.hub().find(key) {
                            return Ok(stream);
                        }
                    }
                },
                () = &mut late => {
                    return Err(match waiter.is_away() {
                        true => Answer::Away.into(),
                        false => NoPlay::Missing,
                    });
                }
                () = &mut left => return Err(NoPlay::Left),
            }
        }
    }
}
