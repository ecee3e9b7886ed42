//! From a wish to play to a player with a seat: the steps that all protocols share.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tracing::{debug, info};

use crate::access::{Ask, Denied, Grant};
use crate::client::Client;
use crate::clients::Purpose;
use crate::config::{Action, OnMissing, StartTime, Vhost};
use crate::hub::{Format, Seat, SeatError, Stream, StreamKey};
use crate::observe::{Asked, Count, Reason};

use super::Live;
use super::account::{Account, Peer, millis};
use super::elsewhere::{Away, How};
use super::limits::{self, Admission};
use super::player::{Player, Rebase};
use super::transport::Transport;

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
}

impl NoPlay {
    /// What is counted; nothing for a player that gave up.
    fn reason(&self) -> Option<Reason> {
        Some(match self {
            // Those of the gate are counted where they are told.
            Self::Left | Self::Denied(_) => return None,
            Self::Away(_) => Reason::Elsewhere,
            Self::Connections(_) => Reason::Connections,
            Self::Missing | Self::Seat(SeatError::Ended) => Reason::NotFound,
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
            Err(NoPlay::Missing) => {
                self.counters().count(Count::PlayNotFound);
                info!(%peer, stream = %key, waited_ms = millis(asked.elapsed()), "no such stream");
            }
            Err(NoPlay::Denied(denied)) => self.denied(denied, Action::Play, &client, &key),
            Err(NoPlay::Away(away)) => {
                let (count, how) = match away.how {
                    How::Redirect => (Count::PlayRedirected, "redirect"),
                    How::Overflow => (Count::PlayOverflowed, "overflow"),
                    How::Proxy(_) => (Count::PlayProxied, "proxy"),
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
            None => self.admit(wish.client.peer)?,
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
        let stream = tokio::select! {
            stream = self.find_or_wait(wish, left) => stream?,
            () = card.kicked() => return Err(NoPlay::Kicked),
        };
        presence.begins();
        let seat = stream.open(
            wish.format,
            self.config().limits.players_per_stream as usize,
        )?;
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
        if let Err(denied) = self.gate().look(wish.ask()) {
            self.denied(&denied, Action::Play, &wish.client, &wish.key);
            return Err(denied.into());
        }
        let Some(stream) = self.hub().find(&wish.key) else {
            let away = self.find_elsewhere(wish).await;
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
            if let Some(away) = self.find_elsewhere(wish).await {
                return Err(NoPlay::Away(Box::new(away)));
            }
            if settings.play.on_missing == OnMissing::NotFound {
                return Err(NoPlay::Missing);
            }
        }
        tokio::select! {
            stream = self.hub().wait_for(key) => stream.ok_or(NoPlay::Shutdown),
            () = tokio::time::sleep(settings.play.wait) => Err(NoPlay::Missing),
            // A player that gives up must not hold its place until the wait is over.
            () = left => Err(NoPlay::Left),
            away = self.appears_elsewhere(wish) => Err(NoPlay::Away(Box::new(away))),
        }
    }
}
