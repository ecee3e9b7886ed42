//! Streams between servers: edges and origins, real processes on loopback.

mod edge;
mod failover;
mod loops;
mod names;
mod play;
mod post;
mod protocols;
mod publish;
mod redirects;
mod reload;
mod tls;

use super::support::server::Server;

/// YAML: an edge of these origins. `more`: further keys of `cluster`.
fn edge_of(origins: &[String], more: &str) -> String {
    let origins: Vec<String> = origins
        .iter()
        .map(|origin| format!("\"{origin}\""))
        .collect();
    format!(
        "vhosts:\n  __defaultVhost__:\n    cluster: {{ mode: remote, origin: [{}], {more} }}\n",
        origins.join(", ")
    )
}

/// Where a server takes RTMP, and where HTTP, as origins are named.
fn rtmp_of(server: &Server) -> String {
    server.address("rtmp").to_string()
}

fn http_of(server: &Server) -> String {
    server.address("http").to_string()
}

/// How often the log has a line with all of these.
fn lines(server: &Server, parts: &[&str]) -> usize {
    server
        .log()
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .count()
}
