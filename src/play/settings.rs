//! What is in effect: the configuration and what is made of it, swapped as a whole by a reload.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::config;
use crate::hub::HubLimits;
use crate::proxy::TrustedProxies;
use crate::vhost::Vhosts;

use super::{Live, file};

/// The settings of one [`Live`].
pub(super) struct Shared {
    /// Guards the pointers to what is in effect; held to clone one, and to swap all on a reload.
    now: RwLock<Settings>,
    /// Guards who is told of another configuration; held while one comes into effect, so that two reloads do not mix.
    told: Mutex<Vec<OnReload>>,
    reader: OnceLock<Reader>,
}

impl Shared {
    pub(super) fn new(config: config::Live) -> Self {
        Self {
            now: RwLock::new(Settings::new(config)),
            told: Mutex::default(),
            reader: OnceLock::new(),
        }
    }
}

/// Reads the configuration again and puts it into effect.
type Reader = Box<dyn Fn() -> Result<config::Changes, ReloadError> + Send + Sync>;

/// Why nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .errors.join("\n"))]
#[non_exhaustive]
pub struct ReloadError {
    /// Every mistake, with file, line and key where it has one.
    pub errors: Vec<String>,
}

impl ReloadError {
    /// For these mistakes.
    pub fn new(errors: Vec<String>) -> Self {
        Self { errors }
    }
}

/// What a reload changes, all at once.
#[derive(Clone)]
struct Settings {
    config: Arc<config::Live>,
    vhosts: Arc<Vhosts>,
    trusted: Arc<TrustedProxies>,
    /// The folder of files, if one is served.
    root: Option<Arc<file::Root>>,
}

/// Told of a configuration that is in effect from now on.
type OnReload = Box<dyn Fn(&Arc<config::Live>) + Send + Sync>;

impl Settings {
    fn new(config: config::Live) -> Self {
        Self {
            vhosts: Arc::new(Vhosts::new(&config)),
            trusted: Arc::new(TrustedProxies::new(&config)),
            root: config
                .http
                .root
                .as_deref()
                .map(file::Root::new)
                .map(Arc::new),
            config: Arc::new(config),
        }
    }
}

impl Live {
    /// The configuration in effect. One answer should look at one: a reload may swap it between two calls.
    pub fn config(&self) -> Arc<config::Live> {
        Arc::clone(&self.inner.settings.now.read().config)
    }

    /// Puts another configuration into effect, as far as that can be done while it serves, and says what changed. Streams that run
    /// keep the settings of their vhost until they end, but for where they come from and are pushed to; who joins or publishes next has the new ones. `config` must be valid
    /// ([`config::Live::validate`]); addresses, and the other keys that [`config::Changes::needs_restart`] names, stay as they are.
    pub fn apply(&self, mut config: config::Live) -> config::Changes {
        let told = self.inner.settings.told.lock();
        let running = self.config();
        let changes = config::Changes::merge(&running, &mut config);
        let limits = &config.limits;
        self.inner.connections.set_limits(
            limits.connections as usize,
            limits.connections_per_ip as usize,
            limits.request_rate_per_ip as usize,
        );
        self.inner.accepts.set(limits.accept_rate_per_ip as usize);
        self.inner.hub.set_limits(hub_limits(&config));
        self.inner.gate.hooks().set_limits(limits);
        for workers in self.workers() {
            workers.set_stall(limits.player_stall);
        }
        self.inner.recorder.reconfigure(&config);
        self.inner.relay.reconfigure(self, &config);
        if let Some(cluster) = self.cluster() {
            cluster.reconfigure(&config);
        }
        let settings = Settings::new(config);
        let config = Arc::clone(&settings.config);
        *self.inner.settings.now.write() = settings;
        for told in told.iter() {
            told(&config);
        }
        changes
    }

    /// Sets one more who is told of each configuration that comes into effect after now: for what is made from the configuration and
    /// kept. It must not block, nor reload.
    #[allow(
        dead_code,
        reason = "for rooms that keep what they make of the configuration"
    )]
    pub(crate) fn on_reload(&self, told: impl Fn(&Arc<config::Live>) + Send + Sync + 'static) {
        self.inner.settings.told.lock().push(Box::new(told));
    }

    /// Sets how [`Live::reload`] reads the configuration and puts it into effect, by [`Live::apply`]. [`crate::service`] does. Only the
    /// first call has an effect.
    pub fn set_reader(
        &self,
        read: impl Fn() -> Result<config::Changes, ReloadError> + Send + Sync + 'static,
    ) {
        let _ = self.inner.settings.reader.set(Box::new(read));
    }

    /// Reads the configuration again, as SIGHUP does. What can change without a restart does; the rest is named. It reads files, and
    /// so may block.
    ///
    /// # Errors
    /// [`ReloadError`]: what is wrong with it. Nothing is changed then.
    pub fn reload(&self) -> Result<config::Changes, ReloadError> {
        match self.inner.settings.reader.get() {
            Some(read) => read(),
            None => Err(ReloadError::new(vec![
                "the configuration of this server was not read from a file".to_owned(),
            ])),
        }
    }

    pub(crate) fn vhosts(&self) -> Arc<Vhosts> {
        Arc::clone(&self.inner.settings.now.read().vhosts)
    }

    /// The proxies whose word counts.
    pub fn trusted_proxies(&self) -> Arc<TrustedProxies> {
        Arc::clone(&self.inner.settings.now.read().trusted)
    }

    pub(super) fn root(&self) -> Option<Arc<file::Root>> {
        self.inner.settings.now.read().root.clone()
    }
}

pub(super) fn hub_limits(config: &config::Live) -> HubLimits {
    HubLimits {
        streams: config.limits.streams as usize,
        stream_memory: usize::try_from(config.limits.stream_memory).unwrap_or(usize::MAX),
        rtmp_chunk_size: config.rtmp.chunk_size,
    }
}
