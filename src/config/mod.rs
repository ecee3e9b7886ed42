//! Configuration: one YAML file, the environment over it, and errors that say where.
//!
//! pingora's own keys (`threads`, `pid_file`, `grace_period_seconds`, …) stand at the top level, ours under `live:`.
//! [`Config::load`] reads both, puts the `PINGORA_LIVE_…` variables over them, and returns either a [`Config`] in which
//! every value is valid, or all errors at once, each with file, line and column. [`Config::check_files`] then looks at
//! the certificate files. [`print_config`] shows what is in effect.
//!
//! ```
//! use pingora_live::config::Config;
//!
//! let yaml = "threads: 4\nlive:\n  http: { listen: 8000 }\n";
//! let config = Config::from_yaml(yaml, "live.yaml", std::iter::empty())?;
//! assert_eq!(config.live.http.listen, ["0.0.0.0:8000".parse()?]);
//! // Hosts that are not named have the settings of the default vhost.
//! assert_eq!(config.live.vhost("live.example.com").map(|(key, _)| key), Some("__defaultVhost__"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each key is declared once, in the tables of [`Live`] and its sections; `config/live.yaml` is the commented
//! reference that is made from them. A proxy that embeds the library builds a [`Live`] in code
//! (`Live { rtmp: …, ..Live::default() }`) or takes it from its own file with [`Live::from_yaml`].

mod access;
mod access_kinds;
mod api;
mod cidr;
mod cluster;
mod environment;
mod error;
mod hints;
mod http_hooks;
mod kinds;
mod live;
mod mount;
mod node;
mod print;
mod proxying;
mod recording_path;
mod relay;
mod reload;
mod schema;
mod secret;
mod sections;
mod server;
mod units;
mod url;
mod validate;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use self::node::Data;
use self::schema::{Context, Origins};

pub use self::access::{OnExpiry, Refer, Security, Token, TokenKey, TokenScheme, Tokens};
pub use self::access_kinds::{AccessRule, Action, Crossdomain, Referrer};
pub use self::api::{Api, ApiAuth, ApiMetrics};
pub use self::cidr::{Network, NetworkError};
pub(crate) use self::cluster::is_node_name;
pub use self::cluster::{BaseUrl, NodeKeys, OnElsewhere, RedisUrl, Registry, UrlScheme};
pub use self::error::{ConfigError, ConfigErrors, Origin, Problem};
pub use self::http_hooks::{HttpHooks, OnFailure};
pub use self::live::{
    Cert, Dvr, DvrPlan, Http, HttpRemux, Https, Limits, Live, Log, LogFormat, LogLevel, OnBusy,
    OnMissing, Play, Publish, Rtmp, RtmpTls, StartTime, TimeJitter, Vhost,
};
pub(crate) use self::mount::decode as decode_name;
pub use self::mount::{BadPath, Extension, Mount, MountError, MountMatch};
pub use self::print::{Key, Setting, keys, print_config, settings};
pub use self::proxying::{
    Balance, ForwardedHeader, HashBy, HeaderChanges, HealthCheck, HealthCheckKind, Route,
    RouteStreams, Server, ServerError, Upstream,
};
pub use self::recording_path::{Moment, Names, RecordingPath, RecordingPathError};
pub use self::relay::{
    Cluster, ClusterMode, Forward, OriginBalance, RelayProtocol, Remote, Scheme,
};
pub use self::reload::{Changes, needs_restart};
pub use self::secret::Secret;
pub use self::url::{HttpUrl, HttpUrlError};

/// A duration as the configuration writes it: `90s`, `30m`, `1h`.
///
/// # Errors
/// What was probably meant, or what a duration looks like.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    units::parse_duration(text)
        .map_err(|guess| guess.unwrap_or_else(|| "a duration such as 90s, 30m or 1h".to_owned()))
}

/// The file that is read when none is named, if it is there; from the working folder.
pub const DEFAULT_FILE: &str = "config/live.yaml";
/// The vhost that serves all hosts that are not named.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";
/// The name of the upstream that the reference shows.
const EXAMPLE_UPSTREAM: &str = "web";
/// What the names of our environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "PINGORA_LIVE_";

/// The whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Everything under `live:`.
    pub live: Live,
    /// The other keys at the top level, which are pingora's, as they stand in the file.
    pub server: Mapping,
    /// The file that it was read from. Not part of a comparison.
    source: Source,
    /// Where the values came from, for errors that are found later. Not part of a comparison.
    origins: Origins,
}

/// What a configuration was read from.
#[derive(Clone, Debug, Default)]
enum Source {
    /// A text, or nothing.
    #[default]
    Text,
    /// This file; or where there was none, [`DEFAULT_FILE`] if it is there by now.
    File(Option<PathBuf>),
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.live == other.live && self.server == other.server
    }
}

impl Config {
    /// Reads a file and puts the variables of `environment` over it; others than `PINGORA_LIVE_…` are skipped.
    ///
    /// Without a path, it is [`DEFAULT_FILE`] when there is one, else the built-in defaults. [`environment`] gives the
    /// variables of the process.
    pub fn load(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigErrors> {
        let default = Path::new(DEFAULT_FILE);
        // The working folder may be another one later.
        let source = Source::File(path.and_then(|path| std::path::absolute(path).ok()));
        let path = match path {
            Some(path) => path,
            None if default.exists() => default,
            None => {
                let config = Config::from_yaml("", "defaults", environment)?;
                return Ok(Config { source, ..config });
            }
        };
        let name = path.display().to_string();
        match read_file(path) {
            Ok(text) => {
                let config = Config::from_yaml(&text, &name, environment)?;
                Ok(Config { source, ..config })
            }
            Err(message) => Err(ConfigErrors::one(ConfigError {
                origin: whole_file(&Arc::from(name)),
                key: String::new(),
                problem: Problem::Unreadable { message },
            })),
        }
    }

    /// Reads the file again that it was read from, with the files that it names; `None` when it was not read from one.
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::check_files`].
    pub fn read_again(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Option<Result<Config, ConfigErrors>> {
        let Source::File(path) = &self.source else {
            return None;
        };
        let again = Config::load(path.as_deref(), environment)
            .and_then(|config| config.check_files().map(|()| config));
        Some(again)
    }

    /// pingora's keys that are not the same in both. All of them need a restart.
    pub fn server_differences(&self, other: &Config) -> Vec<String> {
        let (one, other) = (&self.server, &other.server);
        let keys = one
            .keys()
            .chain(other.keys().filter(|key| !one.contains_key(*key)));
        keys.filter(|key| one.get(*key) != other.get(*key))
            .filter_map(|key| key.as_str().map(str::to_owned))
            .collect()
    }

    /// Reads the text of a file; `file` is its name in errors.
    pub fn from_yaml(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigErrors> {
        read(text, file, environment, TopLevel::Checked)
    }

    /// pingora's keys as YAML, for `ServerConf::from_yaml`.
    pub fn server_yaml(&self) -> String {
        // An empty mapping would be `{}`, which pingora reads as its defaults too.
        serde_yaml::to_string(&self.server).unwrap_or_default()
    }

    /// Looks at the files that are named: whether the certificates and keys that are used can be read and hold what
    /// they should. It does not parse them.
    pub fn check_files(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::check(validate::check_files(&self.live, &self.origins))
    }
}

impl Live {
    /// Reads the `live:` part of a file whose other keys are not looked at, for a proxy with keys of its own.
    pub fn from_yaml(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Live, ConfigErrors> {
        read(text, file, environment, TopLevel::Skipped).map(|config| config.live)
    }

    /// Checks what the types do not: that no two services listen on one address, that TLS has certificates, and the
    /// like. Needed for a configuration that was built in code; the ones that were read have been checked.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::check(validate::check(self, &Origins::default()))
    }

    /// As [`Config::check_files`].
    pub fn check_files(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::check(validate::check_files(self, &Origins::default()))
    }

    /// The vhost that serves a host, and the key under which it stands: the one of that name, in any case, else
    /// [`DEFAULT_VHOST`]. A vhost that is not [`enabled`](Vhost::enabled) is returned as such, not replaced by the
    /// default. `None` only when the default was removed by code.
    ///
    /// `host` is without its port; an empty one asks for the default.
    pub fn vhost(&self, host: &str) -> Option<(&str, &Vhost)> {
        let found = if host == DEFAULT_VHOST {
            None
        } else {
            self.vhosts.get_key_value(host_key(host).as_str())
        };
        let (key, vhost) = found.or_else(|| self.vhosts.get_key_value(DEFAULT_VHOST))?;
        Some((key.as_str(), vhost))
    }

    /// Whether a listener on this address has to be for IPv6 only: `[::]:1935` takes IPv4 too, which fails when
    /// `0.0.0.0:1935` is listened on beside it.
    pub fn ipv6_only(&self, address: std::net::SocketAddr) -> bool {
        let listened = [
            Some(&self.rtmp.listen),
            self.rtmp.tls.as_ref().map(|tls| &tls.listen),
            Some(&self.http.listen),
            self.https.as_ref().map(|https| &https.listen),
            Some(&self.api.listen),
        ];
        address.is_ipv6()
            && address.ip().is_unspecified()
            && listened
                .into_iter()
                .flatten()
                .flatten()
                .any(|other| other.is_ipv4() && other.port() == address.port())
    }
}

/// The variables of this process that are ours. Those that are no UTF-8 come with replacement characters, so that they
/// are refused rather than skipped.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, text)| {
            (
                name.to_string_lossy().into_owned(),
                text.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
}

/// The keys that are accepted at the top level beside `live`: those of pingora's `ServerConf`.
pub fn server_keys() -> impl Iterator<Item = &'static str> {
    server::KEYS.iter().map(|(name, ..)| *name)
}

/// The form in which a host is looked up: lower case, without the brackets of an IPv6 address and without the dot that
/// marks a full name (RFC 3986 §3.2.2).
pub(crate) fn host_key(host: &str) -> String {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bare = inside.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host));
    bare.to_ascii_lowercase()
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is more, and a device without end is not read for ever.
    let most = u64::try_from(node::MAX_FILE_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    std::fs::File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > node::MAX_FILE_BYTES {
        return Err(format!("it is larger than {} bytes", node::MAX_FILE_BYTES));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

/// The place of errors that have none in the file.
fn whole_file(name: &Arc<str>) -> Origin {
    Origin::File {
        name: Arc::clone(name),
        line: 0,
        column: 0,
    }
}

/// What is done with keys beside `live:`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TopLevel {
    Checked,
    Skipped,
}

fn read(
    text: &str,
    file: &str,
    environment: impl Iterator<Item = (String, String)>,
    top_level: TopLevel,
) -> Result<Config, ConfigErrors> {
    let file: Arc<str> = Arc::from(file);
    let mut cx = Context::default();
    let mut config = Config::default();
    let Some(root) = node::parse(text, &file, &mut cx.errors) else {
        return ConfigErrors::check(cx.errors).map(|()| config);
    };
    match &root.data {
        Data::Null => {}
        Data::Map(pairs) => {
            for pair in pairs.iter().filter(|pair| pair.key == server::LIVE) {
                cx.origins.note(server::LIVE, &pair.key_at);
                schema::read_section(&mut config.live, &pair.node, server::LIVE, &mut cx);
            }
            // What pingora gets is read by the parser that pingora uses. That one refuses a text with duplicate keys as
            // a whole, and each of those was reported already.
            let reported = |error: &ConfigError| {
                matches!(
                    error.problem,
                    Problem::Duplicate { .. } | Problem::Syntax { .. }
                )
            };
            match server_mapping(text) {
                Ok(server) => config.server = server,
                Err(_) if cx.errors.iter().any(reported) => {}
                Err(error) => {
                    let place = error.location().map(|place| (place.line(), place.column()));
                    let (line, column) = place.unwrap_or_default();
                    let name = Arc::clone(&file);
                    let message = error.to_string();
                    cx.report(
                        &Origin::File { name, line, column },
                        "",
                        Problem::Syntax { message },
                    );
                }
            }
            if top_level == TopLevel::Checked {
                server::check(pairs, &config.server, &mut cx);
            }
        }
        Data::Scalar(_) | Data::List(_) => cx.refuse(
            &root,
            "",
            "a mapping, with `live:` as one of its keys",
            None,
        ),
    }
    environment::overlay(&mut config.live, environment, &mut cx);
    // What was refused has its default now, and would only bring errors that nobody can understand.
    if cx.errors.is_empty() {
        cx.errors = validate::check(&config.live, &cx.origins);
    }
    ConfigErrors::check(cx.errors)?;
    config.origins = cx.origins;
    Ok(config)
}

/// All keys of the text but ours.
fn server_mapping(text: &str) -> Result<Mapping, serde_yaml::Error> {
    let mut value: Value = serde_yaml::from_str(text)?;
    value.apply_merge()?;
    match value {
        Value::Mapping(mut keys) => {
            keys.shift_remove(server::LIVE);
            Ok(keys)
        }
        _ => Ok(Mapping::new()),
    }
}
