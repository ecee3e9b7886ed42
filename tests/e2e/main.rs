//! End to end: the server as a process, with real publishers, players and browsers. One binary, one module a subject.

mod access;
mod api;
mod bench;
mod browser;
mod cli;
mod cluster;
mod codecs;
mod console;
mod dvr;
mod embed;
mod files;
mod flv;
mod formats;
mod hostile;
mod http;
mod hub;
mod kick;
mod layers;
mod lazy;
mod limits;
mod load;
mod players;
mod post;
mod proxied;
mod publish;
mod reconnect;
mod relay;
mod routes;
mod rtmp_play;
mod shutdown;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod time;
mod tls;
mod vhosts;
mod websocket;

/// YAML: players wait long for a stream, and are let go a second after its publisher left.
const SHORT: &str = "
vhosts:
  __defaultVhost__:
    play: { wait: 20s }
    publish: { republish_wait: 1s }
";
