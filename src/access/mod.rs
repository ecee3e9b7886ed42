//! Who may: the one gate through which every publish and every play goes, whatever the protocol.
//!
//! `Ingest::begin` and `Live::join` ask [`Gate::admit`], once for each publish and play, before anything is claimed or held for it; files
//! ask [`Gate::file`]. The rules are those of the stream's vhost, in this order, and the first that says no decides: addresses
//! (`security`), pages (`refer`), signed URLs (`tokens`), back ends (`http_hooks`). Why somebody was refused stands in the log and in the counters; the client
//! learns the status.

mod denied;
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod refer;
mod rules;
pub mod sign;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::Client;
use crate::config::{Action, OnExpiry, Vhost};
use crate::hub::StreamKey;
use crate::percent;

use denied::Why;
use tokens::{Asked, Query, Uses};

pub(crate) use denied::{Answer, Denied};
pub(crate) use hooks::{Farewell, Hooks, Traffic, on_forward};

/// Endings of addresses that say a format and not what is in it: a signature is good for all formats of a stream.
const FORMATS: [&str; 4] = [".flv", ".ts", ".aac", ".mp3"];

/// What all that is asked has in common.
pub(crate) struct Gate {
    uses: Uses,
    hooks: Arc<Hooks>,
}

/// Who wants to do what.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) action: Action,
    pub(crate) client: &'a Client,
    pub(crate) key: &'a StreamKey,
    pub(crate) settings: &'a Vhost,
}

/// Leave to publish or play. Held while it lasts.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    until: Option<Instant>,
    /// Tells the end of it.
    farewell: Option<Farewell>,
    /// Tells the end of its connection, after that.
    connection: Option<Farewell>,
}

impl Grant {
    /// When it ends, if it does before the client leaves.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Sees a connection off when this is over, for one that becomes a player.
    pub(crate) fn keep(&mut self, connection: Option<Farewell>) {
        self.connection = connection;
    }
}

impl Gate {
    pub(crate) fn new(hooks: Arc<Hooks>) -> Self {
        Self {
            uses: Uses::default(),
            hooks,
        }
    }

    /// The back ends.
    pub(crate) fn hooks(&self) -> &Arc<Hooks> {
        &self.hooks
    }

    /// Judges a publish or a play: by the rules, and then by the vhost's back end. For those who have something to look at in
    /// between, these are [`Gate::judge`] and [`Gate::ask`].
    pub(crate) async fn admit(&self, ask: Ask<'_>) -> Result<Grant, Denied> {
        let grant = self.judge(ask)?;
        self.ask(grant, ask).await
    }

    /// Judges by the rules alone.
    pub(crate) fn judge(&self, ask: Ask<'_>) -> Result<Grant, Denied> {
        self.judge_ask(ask, Some(&self.uses))
    }

    /// Asks the vhost's back end about somebody whom the rules let in.
    pub(crate) async fn ask(&self, mut grant: Grant, ask: Ask<'_>) -> Result<Grant, Denied> {
        let admitted = self
            .hooks
            .admit(ask.action, ask.settings, ask.client, ask.key);
        grant.farewell = admitted.await.map_err(Why::from)?;
        Ok(grant)
    }

    /// What [`Gate::admit`] would say, without using up what can be used up, and without asking anybody.
    pub(crate) fn look(&self, ask: Ask<'_>) -> Result<(), Denied> {
        self.judge_ask(ask, None).map(|_| ())
    }

    fn judge_ask(&self, ask: Ask<'_>, uses: Option<&Uses>) -> Result<Grant, Denied> {
        let path = format!("/{}/{}", ask.key.app(), ask.key.stream());
        let uri = match ask.client.protocol {
            "rtmp" => path.clone(),
            _ => path_of(&ask.client.url),
        };
        let asked = Asked {
            action: ask.action,
            path: &path,
            uri: &uri,
            address: ask.client.peer.map(|peer| peer.ip()),
        };
        let vhost = ask.key.vhost();
        judge(
            ask.settings,
            vhost,
            ask.client,
            &asked,
            uses,
            SystemTime::now(),
        )
    }

    /// Judges a request for a file of this vhost: it is played.
    pub(crate) fn file(
        &self,
        vhost: &str,
        settings: &Vhost,
        client: &Client,
    ) -> Result<(), Denied> {
        let uri = path_of(&client.url);
        let asked = Asked {
            action: Action::Play,
            path: without_format(&uri),
            uri: &uri,
            address: client.peer.map(|peer| peer.ip()),
        };
        // Uses are not counted: one file is asked for in many parts.
        judge(settings, vhost, client, &asked, None, SystemTime::now()).map(|_| ())
    }

    /// Judges a request for the list of files: what needs a URL of one's own cannot be asked of it.
    pub(crate) fn listing(settings: &Vhost, client: &Client) -> Result<(), Denied> {
        let address = client.peer.map(|peer| peer.ip());
        by_origin(settings, client, Action::Play, address).map_err(Denied::from)
    }
}

fn judge(
    settings: &Vhost,
    vhost: &str,
    client: &Client,
    asked: &Asked<'_>,
    uses: Option<&Uses>,
    now: SystemTime,
) -> Result<Grant, Denied> {
    by_origin(settings, client, asked.action, asked.address)?;
    let rules = match asked.action {
        Action::Play => &settings.tokens.play,
        Action::Publish => &settings.tokens.publish,
    };
    if !rules.enabled {
        return Ok(Grant::default());
    }
    // A clock before 1970 lets every URL be good for ever; it is no clock.
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX);
    let seconds = now.as_secs();
    let good = tokens::verify(rules, asked, &Query(&client.query), seconds).map_err(Why::from)?;
    if let Some(uses) = uses {
        uses.take(
            (vhost, asked.action.as_str()),
            &good,
            rules.max_uses,
            seconds,
        )
        .map_err(Why::from)?;
    }
    let left = Duration::from_secs(good.expires).saturating_sub(now);
    let until = match rules.on_expiry {
        OnExpiry::GoOn => None,
        // A time that is too far away to be told is none.
        OnExpiry::End => Instant::now().checked_add(left),
    };
    Ok(Grant {
        until,
        ..Grant::default()
    })
}

fn by_origin(
    settings: &Vhost,
    client: &Client,
    action: Action,
    address: Option<IpAddr>,
) -> Result<(), Why> {
    rules::check(&settings.security, action, address)?;
    if refer::allows(&settings.refer, action, client.page.as_deref()) {
        Ok(())
    } else {
        Err(Why::Refer(client.page.clone()))
    }
}

/// The path of `host/path`, decoded; as it stands where it cannot be decoded.
fn path_of(url: &str) -> String {
    let path = url.find('/').and_then(|at| url.get(at..)).unwrap_or("/");
    percent::decode(path)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| path.to_owned())
}

fn without_format(path: &str) -> &str {
    FORMATS
        .iter()
        .find_map(|ending| path.strip_suffix(ending))
        .unwrap_or(path)
}
