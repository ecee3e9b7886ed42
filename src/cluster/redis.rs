//! A registry in Redis.
//!
//! | key | kind | what it holds |
//! |---|---|---|
//! | `<prefix>stream:<vhost>/<app>/<stream>` | text, with an expiry | the stream's [`Lease`] |
//! | `<prefix>nodes` | hash | for each node when it was given up for dead (Unix time in milliseconds, by the clock of Redis), and its [`Announcement`] |
//! | `<prefix>changes` | channel | the name of each stream that was claimed, taken or released |
//!
//! Whatever compares and then changes is a script, which Redis runs as one step. A script of many streams names keys that lie in many
//! slots, so the Redis must be one server (or one with replicas behind one address), not a Redis Cluster.
//!
//! There is one connection, made by [`Registry::announce`] and by nothing else: while Redis is away, look-ups fail at once instead of
//! waiting for it, each for itself.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, Script, ScriptInvocation, TlsCertificates,
    Value,
};
use tokio::time::timeout;

use crate::config;
use crate::hub::StreamKey;

use super::node::{Announcement, Lease};
use super::registry::{Claim, Claimed, OnChange, Registry, RegistryError};

/// Leases in one call of a script: a few milliseconds of Redis' one thread.
const BATCH: usize = 500;
/// Commands that may wait for the connection; each belongs to a player, a publisher or the node's own clock.
const QUEUE: usize = 1_024;

/// Claims a stream: `KEYS[1]` the lease; the lease's text, its time in ms, "take" or "", what this node's leases begin with, channel, name.
const CLAIM: &str = r"
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and ARGV[3] ~= 'take' and string.sub(held, 1, #ARGV[4]) ~= ARGV[4] then
  return held
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return false
";

/// Renews leases: `KEYS` the leases; the time in ms, then the text of each. Returns 1 for each that is still the caller's, else 0.
const RENEW: &str = r"
local still = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held == ARGV[i + 1] then
    redis.call('PEXPIRE', key, ARGV[1])
    still[i] = 1
  elseif not held then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
    still[i] = 1
  else
    still[i] = 0
  end
end
return still
";

/// Gives leases back: `KEYS` the leases; the channel, then for each its text and the stream's name.
const RELEASE: &str = r"
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[2 * i] then
    redis.call('DEL', key)
    redis.call('PUBLISH', ARGV[1], ARGV[2 * i + 1])
  end
end
return 1
";

/// Says that a node is alive: `KEYS[1]` the nodes; name, announcement, time in ms. Returns the announcements of all that were.
const ANNOUNCE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local nodes = redis.call('HGETALL', KEYS[1])
local alive = {}
for i = 1, #nodes, 2 do
  local at, said = string.match(nodes[i + 1], '^(%d+) (.*)$')
  if at and tonumber(at) > now then
    alive[#alive + 1] = said
  else
    redis.call('HDEL', KEYS[1], nodes[i])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
return alive
";

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    claim: Script::new(CLAIM),
    renew: Script::new(RENEW),
    release: Script::new(RELEASE),
    announce: Script::new(ANNOUNCE),
});

struct Scripts {
    claim: Script,
    renew: Script,
    release: Script,
    announce: Script,
}

/// See the module.
pub struct Redis {
    /// `None` for an address that is none, which the configuration does not let through.
    target: Option<ConnectionInfo>,
    /// The file with those who may sign its certificate.
    tls_ca: Option<PathBuf>,
    prefix: String,
    patience: Duration,
    line: Arc<Line>,
}

/// The connection, and who is told what comes over it.
#[derive(Default)]
struct Line {
    /// Guards which connection is the present one. Held for a clone or a swap.
    now: Mutex<Present>,
    /// Guards who is told. Held while they are, which takes no other lock of this file.
    told: Mutex<Option<OnChange>>,
}

#[derive(Default)]
struct Present {
    /// Counts the connections.
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Line {
    fn lost(&self, number: u64) {
        let mut now = self.now.lock();
        if now.number == number {
            now.connection = None;
        }
    }

    fn heard(&self, number: u64, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Disconnection, _) => self.lost(number),
            (PushKind::Message, [_channel, Value::BulkString(name)]) => {
                let stream = std::str::from_utf8(name).ok().and_then(stream_of);
                if let (Some(stream), Some(told)) = (stream, &*self.told.lock()) {
                    told(stream);
                }
            }
            _ => {}
        }
    }
}

impl Redis {
    /// A registry in the Redis that is configured. Nothing is connected yet.
    pub fn new(config: &config::Registry) -> Self {
        let target = config
            .redis
            .expose()
            .into_connection_info()
            .ok()
            .map(|info| {
                // What other clients published comes over the same connection only with the third version of the protocol.
                let settings = info
                    .redis_settings()
                    .clone()
                    .set_protocol(ProtocolVersion::RESP3);
                info.set_redis_settings(settings)
            });
        Self {
            target,
            tls_ca: config.tls_ca.clone(),
            prefix: config.prefix.clone(),
            patience: config.timeout,
            line: Arc::default(),
        }
    }

    fn key(&self, stream: &StreamKey) -> String {
        format!("{}stream:{stream}", self.prefix)
    }

    fn changes(&self) -> String {
        format!("{}changes", self.prefix)
    }

    fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    /// The present connection.
    fn connected(&self) -> Result<(u64, MultiplexedConnection), RegistryError> {
        let now = self.line.now.lock();
        match &now.connection {
            Some(connection) => Ok((now.number, connection.clone())),
            None => Err(RegistryError::Unreachable("not connected".to_owned())),
        }
    }

    /// Its certificates are read for each connection: they may have been changed since the last one.
    fn client(&self, target: ConnectionInfo) -> Result<Client, RegistryError> {
        let made = match &self.tls_ca {
            None => Client::open(target),
            Some(file) => {
                let authorities = std::fs::read(file).map_err(|error| {
                    let file = file.display();
                    RegistryError::Unreachable(format!("{file} cannot be read: {error}"))
                })?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities),
                };
                Client::build_with_tls(target, certificates)
            }
        };
        made.map_err(|error| not_connected(&error))
    }

    /// Makes a connection, if there is none.
    async fn connect(&self) -> Result<(), RegistryError> {
        if self.connected().is_ok() {
            return Ok(());
        }
        let target = self
            .target
            .clone()
            .ok_or_else(|| RegistryError::Unreachable("its address is none".to_owned()))?;
        let client = self.client(target)?;
        let number = {
            let mut now = self.line.now.lock();
            now.number += 1;
            now.number
        };
        let line: Weak<Line> = Arc::downgrade(&self.line);
        let hear = move |push: PushInfo| -> Result<(), std::convert::Infallible> {
            if let Some(line) = line.upgrade() {
                line.heard(number, &push);
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(self.patience))
            .set_pipeline_buffer_size(QUEUE)
            .set_push_sender(hear);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| not_connected(&error))?;
        connection
            .subscribe(self.changes())
            .await
            .map_err(|error| not_connected(&error))?;
        let mut now = self.line.now.lock();
        if now.number == number {
            now.connection = Some(connection);
        }
        Ok(())
    }

    /// Runs a command. A connection over which an answer did not come in time, or that broke, is given up.
    async fn ask<T: FromRedisValue>(&self, asked: Asked<'_>) -> Result<T, RegistryError> {
        let (number, mut connection) = self.connected()?;
        let answer = async {
            match asked {
                Asked::Get(key) => {
                    redis::cmd("GET")
                        .arg(key)
                        .query_async(&mut connection)
                        .await
                }
                Asked::Delete(key, field) => {
                    let mut command = redis::cmd("HDEL");
                    command
                        .arg(key)
                        .arg(field)
                        .query_async(&mut connection)
                        .await
                }
                Asked::Script(script) => script.invoke_async(&mut connection).await,
            }
        };
        let error = match timeout(self.patience, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if error.is_timeout() => RegistryError::Timeout,
            Ok(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => {
                RegistryError::Unreachable(error.to_string())
            }
            // It works, but not as a registry: out of memory, read only, a key of another kind.
            Ok(Err(error)) => return Err(RegistryError::Refused(error.to_string())),
            Err(_) => RegistryError::Timeout,
        };
        self.line.lost(number);
        Err(error)
    }
}

/// What it says itself (a wrong password, no such database) is told from a Redis that is not reached.
fn not_connected(error: &RedisError) -> RegistryError {
    let refused = error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed;
    if refused && !error.is_io_error() {
        RegistryError::Refused(error.to_string())
    } else {
        RegistryError::Unreachable(error.to_string())
    }
}

enum Asked<'a> {
    Get(String),
    Delete(String, &'a str),
    Script(ScriptInvocation<'a>),
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `vhost/app/stream`; only the app may hold slashes.
fn stream_of(name: &str) -> Option<StreamKey> {
    let (vhost, rest) = name.split_once('/')?;
    let (app, stream) = rest.rsplit_once('/')?;
    StreamKey::new(vhost, app, stream).ok()
}

#[async_trait]
impl Registry for Redis {
    async fn claim(
        &self,
        stream: &StreamKey,
        lease: &Lease,
        ttl: Duration,
        how: Claim,
    ) -> Result<Claimed, RegistryError> {
        let mut script = SCRIPTS.claim.key(self.key(stream));
        script
            .arg(lease.encode())
            .arg(ms(ttl))
            .arg(if how == Claim::Take { "take" } else { "" })
            .arg(lease.start())
            .arg(self.changes())
            .arg(stream.to_string());
        let held: Option<String> = self.ask(Asked::Script(script)).await?;
        match held {
            None => Ok(Claimed::Yes),
            Some(text) => Lease::decode(&text)
                .map(Box::new)
                .map(Claimed::Held)
                .ok_or_else(|| {
                    RegistryError::Refused(format!(
                        "the lease of {stream} was written by something else"
                    ))
                }),
        }
    }

    async fn renew(
        &self,
        leases: &[(StreamKey, Lease)],
        ttl: Duration,
    ) -> Result<Vec<bool>, RegistryError> {
        let mut still = Vec::with_capacity(leases.len());
        for batch in leases.chunks(BATCH) {
            let mut script = SCRIPTS.renew.prepare_invoke();
            script.arg(ms(ttl));
            for (stream, lease) in batch {
                script.key(self.key(stream)).arg(lease.encode());
            }
            let answer: Vec<u8> = self.ask(Asked::Script(script)).await?;
            still.extend(answer.into_iter().map(|still| still == 1));
        }
        Ok(still)
    }

    async fn release(&self, leases: &[(StreamKey, Lease)]) -> Result<(), RegistryError> {
        for batch in leases.chunks(BATCH) {
            let mut script = SCRIPTS.release.prepare_invoke();
            script.arg(self.changes());
            for (stream, lease) in batch {
                script
                    .key(self.key(stream))
                    .arg(lease.encode())
                    .arg(stream.to_string());
            }
            let _: Value = self.ask(Asked::Script(script)).await?;
        }
        Ok(())
    }

    async fn find(&self, stream: &StreamKey) -> Result<Option<Lease>, RegistryError> {
        let text: Option<String> = self.ask(Asked::Get(self.key(stream))).await?;
        Ok(text.as_deref().and_then(Lease::decode))
    }

    async fn announce(
        &self,
        node: &Announcement,
        ttl: Duration,
    ) -> Result<Vec<Announcement>, RegistryError> {
        timeout(self.patience, self.connect())
            .await
            .map_err(|_| RegistryError::Timeout)??;
        let mut script = SCRIPTS.announce.key(self.nodes());
        script.arg(&node.name).arg(node.encode()).arg(ms(ttl));
        let alive: Vec<String> = self.ask(Asked::Script(script)).await?;
        Ok(alive
            .iter()
            .filter_map(|text| Announcement::decode(text))
            .collect())
    }

    async fn leave(&self, node: &Announcement) -> Result<(), RegistryError> {
        let _: Value = self.ask(Asked::Delete(self.nodes(), &node.name)).await?;
        Ok(())
    }

    fn on_change(&self, told: OnChange) {
        *self.line.told.lock() = Some(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_stream_says_which() {
        for (vhost, app, stream) in [
            ("__defaultVhost__", "live", "x"),
            ("a.example", "live/deep", "x y"),
        ] {
            let key = StreamKey::new(vhost, app, stream).unwrap();
            assert_eq!(stream_of(&key.to_string()), Some(key));
        }
        for bad in ["", "a", "a/b", "a//b", "a/../b"] {
            assert_eq!(stream_of(bad), None, "{bad}");
        }
    }
}
