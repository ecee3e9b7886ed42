//! pingora's own keys, at the top level of the file.
//!
//! pingora ignores keys that it does not know, so that a mistyped `theads: 8` would run one thread and say nothing.
//! Hence the list: the fields of `pingora_core::server::configuration::ServerConf` in 0.9.1, without those of features
//! that are not built in, with the type of each. The values are handed on as they are.

use serde_yaml::{Mapping, Value};

use super::error::Problem;
use super::hints;
use super::node::Pair;
use super::schema::Context;

/// What pingora reads a key as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Switch,
    /// A whole number, and the least that does not make pingora fail.
    Count(u64),
    Text,
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
}

use Type::{Count, Switch, Text, Texts, Word};

/// Whether `null` may stand for "not set".
const NULL: bool = true;
const NO_NULL: bool = false;

/// pingora's keys, their types, and whether they may be null.
pub(super) const KEYS: &[(&str, Type, bool)] = &[
    ("version", Count(0), NO_NULL),
    ("daemon", Switch, NO_NULL),
    ("error_log", Text, NULL),
    ("pid_file", Text, NO_NULL),
    ("upgrade_sock", Text, NO_NULL),
    ("user", Text, NULL),
    ("group", Text, NULL),
    ("working_directory", Text, NULL),
    // A service without a thread, or a listener without a task, serves nobody.
    ("threads", Count(1), NO_NULL),
    ("listener_tasks_per_fd", Count(1), NO_NULL),
    ("work_stealing", Switch, NO_NULL),
    ("runtime_enable_alt_timer", Switch, NO_NULL),
    ("ca_file", Text, NULL),
    ("grace_period_seconds", Count(0), NULL),
    ("graceful_shutdown_timeout_seconds", Count(0), NULL),
    ("client_bind_to_ipv4", Texts, NO_NULL),
    ("client_bind_to_ipv6", Texts, NO_NULL),
    ("upstream_keepalive_pool_size", Count(0), NO_NULL),
    ("upstream_connect_offload_threadpools", Count(0), NULL),
    ("upstream_connect_offload_thread_per_pool", Count(0), NULL),
    ("downstream_tls_offload_threadpools", Count(0), NULL),
    ("downstream_tls_offload_thread_per_pool", Count(0), NULL),
    ("upstream_debug_ssl_keylog", Switch, NO_NULL),
    ("max_retries", Count(0), NO_NULL),
    ("upgrade_sock_connect_accept_max_retries", Count(0), NULL),
    ("max_blocking_threads", Count(1), NULL),
    ("blocking_threads_ttl_seconds", Count(0), NULL),
    ("fast_timeout_to_tokio_threshold_seconds", Count(0), NULL),
    ("runtime_metrics_poll_time_histogram", Switch, NO_NULL),
    (
        "runtime_metrics_poll_time_histogram_scale",
        Word(&["linear", "log"]),
        NULL,
    ),
    (
        "runtime_metrics_poll_time_histogram_resolution_micros",
        Count(1),
        NULL,
    ),
    (
        "runtime_metrics_poll_time_histogram_buckets",
        Count(1),
        NULL,
    ),
    ("daemon_wait_for_ready", Switch, NO_NULL),
    ("daemon_ready_timeout_seconds", Count(1), NULL),
    ("daemon_notify_timeout_seconds", Count(1), NULL),
];

/// The key under which all of ours stand.
pub(super) const LIVE: &str = "live";

/// Reports top-level keys that pingora would ignore or refuse. `pairs` say where each stands, `values` what pingora
/// will be given.
pub(super) fn check(pairs: &[Pair], values: &Mapping, cx: &mut Context) {
    for pair in pairs.iter().filter(|pair| pair.key != LIVE) {
        match KEYS.iter().find(|(name, ..)| *name == pair.key) {
            None => {
                let problem = unknown(&pair.key);
                cx.report(&pair.key_at, &pair.key, problem);
            }
            Some((_, of, null)) => {
                let Some(value) = values.get(pair.key.as_str()) else {
                    continue;
                };
                if !(*null && value.is_null() || fits(value, *of)) {
                    let hint = match (of, value) {
                        (Text, Value::Number(_) | Value::Bool(_)) => {
                            Some("put it into quotes".to_owned())
                        }
                        // It reads booleans of YAML 1.2, not the switches that ours are.
                        (Switch, Value::String(_)) => Some("this key is pingora's".to_owned()),
                        _ => None,
                    };
                    cx.refuse(&pair.node, &pair.key, &accepted(*of), hint);
                }
            }
        }
    }
}

fn unknown(key: &str) -> Problem {
    if super::print::sections()
        .iter()
        .any(|section| section == key)
    {
        let hint = "it belongs under live".to_owned();
        return Problem::UnknownKey { hint };
    }
    let known: Vec<_> = KEYS.iter().map(|(name, ..)| *name).chain([LIVE]).collect();
    match hints::unknown_key(key, "", &known) {
        // Thirty-five names would be no help.
        Problem::UnknownKey { hint } if hint.starts_with(hints::KNOWN_HERE) => {
            Problem::UnknownKey {
                hint: "neither pingora's nor `live`".to_owned(),
            }
        }
        problem => problem,
    }
}

fn fits(value: &Value, of: Type) -> bool {
    match of {
        Switch => value.is_bool(),
        Count(least) => value.as_u64().is_some_and(|count| count >= least),
        Text => value.is_string(),
        Texts => value
            .as_sequence()
            .is_some_and(|items| items.iter().all(Value::is_string)),
        Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
    }
}

fn accepted(of: Type) -> String {
    match of {
        Switch => "true or false".to_owned(),
        Count(least) => format!("a whole number from {least}"),
        Text => "a text".to_owned(),
        Texts => "a list of addresses".to_owned(),
        Word(words) => words.join(" or "),
    }
}
