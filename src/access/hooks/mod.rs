//! Callbacks: a back end is asked who may, and told what happened.
//!
//! Asking ([`Hooks::ask`]) waits for the answer: each URL in turn, and all have to agree. Telling ([`queue`]) does not: what is to be told
//! waits in a queue for each back end, bounded, and is tried again until the back end has it; each has an id, since it may get
//! one twice. Who was let in is seen off: [`Farewell`] tells it when it is dropped, whatever path ended the publish or play.

pub(super) mod answer;
mod body;
mod queue;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, Method, header};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::client::Client;
use crate::config::{Action, HttpHooks, HttpUrl, Limits, OnFailure, Vhost};
use crate::hub::StreamKey;
use crate::identity;
use crate::observe::Counters;
use crate::outbound::{Outbound, OutboundError, Request};

use answer::Verdict;
use body::{Facts, More};
use queue::{Queue, Told};

/// The longest answer that is read, in bytes. SRS reads 32 KiB at a time and as much as comes.
const MAX_ANSWER: usize = 64 * 1024;
/// Names an event: whoever is told twice knows it by this.
const EVENT_ID: HeaderName = HeaderName::from_static("x-event-id");
/// Publishers that are remembered after they left, for recordings that are closed later.
const MAX_LEFT: usize = 1024;

/// Why a back end keeps somebody out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It said so.
    #[error("{url} said no: {why}")]
    No { url: String, why: String },
    /// It said nothing that could be understood, and `on_failure` is `deny`.
    #[error("{url} did not answer: {why}")]
    Failed { url: String, why: String },
}

/// The body of `on_forward`, by which a back end is asked where a stream is to be pushed.
pub(crate) fn on_forward(client: &Client, key: &StreamKey) -> Bytes {
    Facts::of(client, key).body("on_forward", &More::default())
}

/// All callbacks of a server.
pub(crate) struct Hooks {
    outbound: Outbound,
    counters: Arc<Counters>,
    /// Callbacks under way to one back end.
    requests: AtomicUsize,
    /// What may wait for one.
    queue: AtomicUsize,
    next_event: AtomicU64,
    /// Guards the back ends, by host and port: as many as configurations have named. Held for a look-up.
    backends: Mutex<HashMap<String, Arc<Backend>>>,
    /// Who publishes, and who did lately, where recordings are told of. Held for a look-up.
    publishers: Mutex<HashMap<StreamKey, Publishing>>,
    /// Where queues are worked on. Set with the first connection.
    runtime: Mutex<Option<Handle>>,
}

struct Publishing {
    facts: Facts,
    left: bool,
}

/// A server that is asked and told.
struct Backend {
    asking: Semaphore,
    queue: Queue,
}

/// Bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// Tells the end of what a back end was asked about, when it is dropped.
pub(crate) struct Farewell {
    hooks: Arc<Hooks>,
    action: &'static str,
    urls: Vec<HttpUrl>,
    retry_for: Duration,
    timeout: Duration,
    facts: Facts,
    /// Of a connection.
    traffic: Option<Arc<Traffic>>,
    /// Of a publish that recordings may ask about.
    publishes: Option<StreamKey>,
}

impl std::fmt::Debug for Farewell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Farewell")
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(key) = &self.publishes {
            self.hooks.publisher_left(key);
        }
        let count = |counter: &AtomicU64| Some(counter.load(Ordering::Relaxed));
        let more = More {
            send_bytes: self.traffic.as_ref().and_then(|t| count(&t.sent)),
            recv_bytes: self.traffic.as_ref().and_then(|t| count(&t.received)),
            ..More::default()
        };
        let body = self.facts.body(self.action, &more);
        self.hooks
            .tell(self.action, &self.urls, &body, self.timeout, self.retry_for);
    }
}

impl Hooks {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        let hooks = Self {
            outbound: Outbound::default(),
            counters,
            requests: AtomicUsize::new(0),
            queue: AtomicUsize::new(0),
            next_event: AtomicU64::new(1),
            backends: Mutex::default(),
            publishers: Mutex::default(),
            runtime: Mutex::default(),
        };
        hooks.set_limits(limits);
        hooks
    }

    /// Takes the limits of a configuration: for queues at once, for requests with the back ends that are new.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        let set = |to: &AtomicUsize, from: u32| to.store(from as usize, Ordering::Relaxed);
        set(&self.requests, limits.hook_requests);
        set(&self.queue, limits.hook_queue);
    }

    /// Works on the queues on this runtime from now on.
    pub(crate) fn start(self: &Arc<Self>, runtime: Handle) {
        *self.runtime.lock() = Some(runtime);
        for backend in self.backends.lock().values() {
            self.work_on(backend);
        }
    }

    /// Callbacks that are to be told and were not yet.
    pub(crate) fn waiting(&self) -> usize {
        let backends = self.backends.lock();
        backends.values().map(|backend| backend.queue.len()).sum()
    }

    /// Asks whether a client may, and gives what sees it off.
    pub(super) async fn admit(
        self: &Arc<Self>,
        action: Action,
        settings: &Vhost,
        client: &Client,
        key: &StreamKey,
    ) -> Result<Option<Farewell>, Refused> {
        let hooks = &settings.http_hooks;
        if !hooks.enabled {
            return Ok(None);
        }
        let (asks, asked, told, telling) = match action {
            Action::Play => ("on_play", &hooks.on_play, "on_stop", &hooks.on_stop),
            Action::Publish => (
                "on_publish",
                &hooks.on_publish,
                "on_unpublish",
                &hooks.on_unpublish,
            ),
        };
        let facts = Facts::of(client, key);
        self.ask(hooks, asks, asked, &facts).await?;
        let records = action == Action::Publish && !hooks.on_dvr.is_empty();
        if records {
            self.publisher_came(key, &facts);
        }
        let mut farewell = self.farewell(hooks, told, telling, facts);
        farewell.publishes = records.then(|| key.clone());
        Ok(Some(farewell))
    }

    /// Asks whether a client may connect to an app, and gives what sees it off.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        settings: &Vhost,
        client: &Client,
        vhost: &str,
        app: &str,
        traffic: &Arc<Traffic>,
    ) -> Result<Option<Farewell>, super::Denied> {
        let hooks = &settings.http_hooks;
        if !hooks.enabled || hooks.on_connect.is_empty() && hooks.on_close.is_empty() {
            return Ok(None);
        }
        let facts = Facts::of_connected(client, vhost, app);
        self.ask(hooks, "on_connect", &hooks.on_connect, &facts)
            .await
            .map_err(super::Why::from)?;
        let mut farewell = self.farewell(hooks, "on_close", &hooks.on_close, facts);
        farewell.traffic = Some(Arc::clone(traffic));
        Ok(Some(farewell))
    }

    /// Tells of a recording that is finished.
    pub(crate) fn recorded(self: &Arc<Self>, settings: &Vhost, key: &StreamKey, file: &Path) {
        let hooks = &settings.http_hooks;
        if !hooks.enabled || hooks.on_dvr.is_empty() {
            return;
        }
        let facts = self
            .publishers
            .lock()
            .get(key)
            .map(|publishing| publishing.facts.clone());
        let more = More {
            cwd: std::env::current_dir()
                .ok()
                .map(|folder| folder.display().to_string()),
            file: Some(file.display().to_string()),
            ..More::default()
        };
        let body = facts
            .unwrap_or_else(|| Facts::of_stream(key))
            .body("on_dvr", &more);
        self.tell(
            "on_dvr",
            &hooks.on_dvr,
            &body,
            hooks.timeout,
            hooks.retry_for,
        );
    }

    fn farewell(
        self: &Arc<Self>,
        hooks: &HttpHooks,
        action: &'static str,
        urls: &[HttpUrl],
        facts: Facts,
    ) -> Farewell {
        Farewell {
            hooks: Arc::clone(self),
            action,
            urls: urls.to_vec(),
            retry_for: hooks.retry_for,
            timeout: hooks.timeout,
            facts,
            traffic: None,
            publishes: None,
        }
    }

    fn publisher_came(&self, key: &StreamKey, facts: &Facts) {
        let mut publishers = self.publishers.lock();
        if publishers.len() >= MAX_LEFT {
            publishers.retain(|_, publishing| !publishing.left);
        }
        let publishing = Publishing {
            facts: facts.clone(),
            left: false,
        };
        publishers.insert(key.clone(), publishing);
    }

    fn publisher_left(&self, key: &StreamKey) {
        if let Some(publishing) = self.publishers.lock().get_mut(key) {
            publishing.left = true;
        }
    }

    async fn ask(
        &self,
        hooks: &HttpHooks,
        action: &'static str,
        urls: &[HttpUrl],
        facts: &Facts,
    ) -> Result<(), Refused> {
        if urls.is_empty() {
            return Ok(());
        }
        let body = facts.body(action, &More::default());
        let id = self.event_id();
        for url in urls {
            let begin = Instant::now();
            let verdict = self.ask_one(url, &body, &id, hooks.timeout).await;
            self.counters.hooks().asked(begin.elapsed());
            let url = || url.to_string();
            match verdict {
                Verdict::Yes => {}
                Verdict::No(why) => return Err(Refused::No { url: url(), why }),
                Verdict::Failed(why) => {
                    self.counters.hooks().failed();
                    warn!(action, url = url(), "a callback failed: {why}");
                    if hooks.on_failure == OnFailure::Deny {
                        return Err(Refused::Failed { url: url(), why });
                    }
                }
            }
        }
        Ok(())
    }

    async fn ask_one(&self, url: &HttpUrl, body: &Bytes, id: &str, within: Duration) -> Verdict {
        let backend = self.backend(url);
        let begin = tokio::time::Instant::now();
        let turn = tokio::time::timeout(within, backend.asking.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Verdict::Failed(format!("no turn in {within:?}: too many are asked already"));
        };
        let left = within.saturating_sub(begin.elapsed());
        match self.send(url, body, id, left).await {
            Ok(answer) => answer::judge(answer.status, &answer.body),
            Err(error) => Verdict::Failed(error.to_string()),
        }
    }

    async fn send(
        &self,
        url: &HttpUrl,
        body: &Bytes,
        id: &str,
        within: Duration,
    ) -> Result<crate::outbound::Answer, OutboundError> {
        let request = Request {
            method: Method::POST,
            url,
            headers: &[
                (header::CONTENT_TYPE, "application/json"),
                // RFC 9110 §9.2.2: a POST that is repeated may be known by its key.
                (EVENT_ID, id),
            ],
            body: body.clone(),
            within,
            max_answer: MAX_ANSWER,
        };
        self.outbound.send(&request).await
    }

    fn event_id(&self) -> String {
        let number = self.next_event.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", identity::service_id())
    }

    fn backend(&self, url: &HttpUrl) -> Arc<Backend> {
        let mut backends = self.backends.lock();
        let backend = backends.entry(url.authority()).or_insert_with(|| {
            Arc::new(Backend {
                asking: Semaphore::new(self.requests.load(Ordering::Relaxed).max(1)),
                queue: Queue::default(),
            })
        });
        Arc::clone(backend)
    }

    /// Puts a callback into the queue of each URL's back end.
    fn tell(
        self: &Arc<Self>,
        action: &'static str,
        urls: &[HttpUrl],
        body: &Bytes,
        timeout: Duration,
        retry_for: Duration,
    ) {
        if urls.is_empty() {
            return;
        }
        let id = self.event_id();
        for url in urls {
            let told = Told {
                action,
                url: url.clone(),
                body: body.clone(),
                id: id.clone(),
                timeout,
                until: Instant::now() + retry_for,
            };
            let backend = self.backend(url);
            let most = self.queue.load(Ordering::Relaxed);
            if let Some(dropped) = backend.queue.push(told, most) {
                self.counters.hooks().lost();
                debug!(action = dropped.action, url = %dropped.url, "a callback was dropped: the queue is full");
            }
            self.work_on(&backend);
        }
    }

    fn work_on(self: &Arc<Self>, backend: &Arc<Backend>) {
        let Some(runtime) = self.runtime.lock().clone() else {
            // Until the first connection.
            return;
        };
        if backend.queue.begin_work() {
            let (hooks, backend) = (Arc::clone(self), Arc::clone(backend));
            runtime.spawn(async move { queue::work(&hooks, &backend.queue).await });
        }
    }
}
