//! What a peer asks for, and what it is told: connect, publish, play.

use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use crate::client::{Client, join_queries};
use crate::config::BadPath;
use crate::hub::{Format, PublishError, SeatError, StreamKey};
use crate::ingest::{Ingest, Refused, Wanted};
use crate::mux::rtmp::STREAM_ID;
use crate::observe::Asked;
use crate::play::{Joined, NoPlay, Wish};
use crate::relay::Answer;
use crate::vhost;

use super::super::{Connect, Play, Publish, Reject};
use super::{Connection, End, Publishing};

impl Connection {
    /// Asks the back end of the vhost, if it wants to be asked, and answers.
    pub(super) async fn connected(&mut self, connect: Connect) -> Result<(), End> {
        if let Some(refusal) = self.refusal {
            let reject = Reject::new("NetConnection.Connect.Rejected", refusal.to_string());
            self.session.reject_connect(&reject);
            return Err(End::Refused(reject.description));
        }
        // A name that is none is refused where a stream is asked for.
        let vhost = vhost_of(&connect, "").unwrap_or_default();
        let (vhost, settings) = self.live.vhosts().resolve(vhost::without_port(&vhost));
        let client = self.client(&connect, "");
        let app = split_query(&connect.app).0;
        let hooks = self.live.gate().hooks();
        let asked = hooks.connect(&settings, &client, &vhost, app, &self.traffic);
        let answered = asked.await;
        self.session.waited(Instant::now());
        match answered {
            Ok(farewell) => {
                self.farewell = farewell;
                self.connect = Some(connect);
                self.session.accept_connect();
                Ok(())
            }
            Err(denied) => {
                let counters = self.live.counters();
                counters.denied(denied.denial());
                counters.turned_away(Asked::Connect, denied.denial().into());
                info!(
                    target: "pingora_live::access",
                    vhost,
                    app,
                    protocol = client.protocol,
                    action = "connect",
                    by = denied.denial().name(),
                    why = %denied,
                    reason = "denied",
                    "denied"
                );
                let reject = Reject::new("NetConnection.Connect.Rejected", denied.told());
                self.session.reject_connect(&reject);
                Err(End::Refused(reject.description))
            }
        }
    }

    pub(super) async fn publish(&mut self, publish: &Publish) -> Result<(), End> {
        let begun = self.begin(publish).await;
        self.session.waited(Instant::now());
        match begun {
            Ok(ingest) => {
                self.session.accept_publish(publish.stream_id);
                self.publishing = Some(Publishing {
                    ingest,
                    stream_id: publish.stream_id,
                });
                Ok(())
            }
            Err(reject) => {
                self.session.reject_publish(publish.stream_id, &reject);
                Err(End::Refused(reject.description))
            }
        }
    }

    async fn begin(&mut self, publish: &Publish) -> Result<Ingest, Reject> {
        if self.publishing.is_some() {
            return Err(bad_name("this connection publishes a stream already"));
        }
        if self.turned_away.is_some() {
            // Only players are sent to other servers.
            let admitted = self.live.admit(self.peer);
            let denied = |why: String| Reject::new("NetStream.Publish.Denied", why);
            self.admission = Some(admitted.map_err(|refusal| denied(refusal.to_string()))?);
            self.turned_away = None;
        }
        let connect = self
            .connect
            .as_ref()
            .ok_or_else(|| bad_name("publish before connect"))?;
        let vhost = vhost_of(connect, &publish.name)
            .map_err(|bad| bad_name(&format!("the vhost's name holds {bad}")))?;
        let client = self.client(connect, &publish.name);
        let wanted = Wanted {
            client: &client,
            vhost: &vhost,
            app: split_query(&connect.app).0,
            stream: split_query(&publish.name).0,
            encoder: Some(&connect.flash_ver),
        };
        let begun = Ingest::begin(&self.live, &wanted).await;
        begun.map_err(|refused| match refused {
            Refused::Name(_)
            | Refused::Elsewhere(_)
            | Refused::Origin(Answer::Taken)
            | Refused::Claim(PublishError::Busy { .. }) => bad_name(&refused.to_string()),
            refused => Reject::new("NetStream.Publish.Denied", refused.to_string()),
        })
    }

    /// Who wants the stream of that name.
    fn client(&self, connect: &Connect, name: &str) -> Client {
        Client {
            id: self.id,
            peer: self.peer,
            protocol: "rtmp",
            secure: self.secure,
            query: join_queries(&[name, &connect.app, &connect.tc_url].map(|n| split_query(n).1)),
            page: Some(connect.page_url.clone()).filter(|page| !page.is_empty()),
            url: split_query(&connect.tc_url).0.to_owned(),
            url_query: split_query(&connect.tc_url).1.to_owned(),
            via: connect.via.clone(),
        }
    }

    /// Answers a play; the stream may have to be waited for.
    pub(super) async fn play(&mut self, play: &Play) -> Result<(), End> {
        let seated = self.seat(play).await;
        self.session.waited(Instant::now());
        let refused = match seated {
            Ok(mut joined) => {
                joined.keep(self.farewell.take(), Arc::clone(&self.traffic));
                self.session.accept_play(play.stream_id);
                self.flush_in_time().await?;
                return Err(End::Plays(Box::new(joined), play.stream_id));
            }
            Err(reject) => reject,
        };
        self.session.reject_play(play.stream_id, &refused);
        Err(End::Refused(refused.description))
    }

    async fn seat(&mut self, play: &Play) -> Result<Joined, Reject> {
        let asked = Instant::now();
        let failed = |why: String| Reject::new("NetStream.Play.Failed", why);
        if self.publishing.is_some() || play.stream_id != STREAM_ID {
            return Err(failed(
                "a connection plays one stream, and does nothing else".to_owned(),
            ));
        }
        let connect = self
            .connect
            .as_ref()
            .ok_or_else(|| failed("play before connect".to_owned()))?;
        let vhost = vhost_of(connect, &play.name)
            .map_err(|bad| failed(format!("the vhost's name holds {bad}")))?;
        let (vhost, settings) = self.live.vhosts().resolve(&vhost);
        let not_found = |why: String| Reject::new("NetStream.Play.StreamNotFound", why);
        if !settings.enabled {
            return Err(not_found(format!("the vhost {vhost} is disabled")));
        }
        let key = StreamKey::new(
            &vhost,
            split_query(&connect.app).0,
            split_query(&play.name).0,
        )
        .map_err(|error| failed(error.to_string()))?;
        let wish = Wish {
            key,
            settings,
            format: Format::Rtmp,
            may_proxy: false,
            client: self.client(connect, &play.name),
            asked,
        };
        // A client that goes away while it waits is noticed when the wait is over: nothing is read meanwhile.
        let joined = self
            .live
            .join(wish, self.admission.take(), std::future::pending())
            .await;
        joined.map_err(|refused| match refused {
            NoPlay::Away(away) => Reject::redirect(away.address),
            NoPlay::Missing | NoPlay::Origin(Answer::Missing) | NoPlay::Seat(SeatError::Ended) => {
                not_found(refused.to_string())
            }
            refused => failed(refused.to_string()),
        })
    }
}

fn bad_name(description: &str) -> Reject {
    Reject::new("NetStream.Publish.BadName", description)
}

/// The vhost that a client means: what it appended to the stream or the app, else the host it connected to.
fn vhost_of(connect: &Connect, name: &str) -> Result<String, BadPath> {
    for named in [name, &connect.app, &connect.tc_url] {
        if let Some(vhost) = vhost::from_query(split_query(named).1)? {
            return Ok(vhost);
        }
    }
    Ok(vhost::host_of_url(&connect.tc_url).to_owned())
}

/// `name?a=b` as librtmp and OBS send it.
fn split_query(name: &str) -> (&str, &str) {
    name.split_once('?').unwrap_or((name, ""))
}
