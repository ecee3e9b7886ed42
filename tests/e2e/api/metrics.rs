//! The metrics as Prometheus takes them, and what the dashboard and the alerts ask of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::super::support::feed::{Feed, Plan};
use super::super::support::player::Player;
use super::super::support::programs;
use super::super::support::proxies::free_port;
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, http, wait_for};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

/// Each expression of the dashboard, as Grafana sends it.
fn expressions() -> Vec<String> {
    let dashboard = fs::read_to_string(docs("grafana.json")).expect("a dashboard");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| target["expr"].as_str().expect("an expression"))
        .map(|expression| {
            expression
                .replace("$instance", ".*")
                .replace("$__rate_interval", "10s")
        })
        .collect()
}

/// Prometheus, which asks the server each second. Killed by its handle.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(server: &Server) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: pingora-live\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            docs("alerts.yaml").display(),
            server.address("api")
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a configuration");
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus");
        Prometheus {
            child,
            port,
            _folder: folder,
        }
    }

    /// An answer of its API; nothing while it starts.
    fn ask(&self, path: &str, query: &str) -> Option<Value> {
        let mut curl = programs::curl();
        curl.arg("-G")
            .arg("--data-urlencode")
            .arg(format!("query={query}"))
            .arg(format!("http://127.0.0.1:{}/api/v1/{path}", self.port));
        let said = programs::run(&mut curl, PATIENCE);
        let answer: Value = serde_json::from_slice(&said.stdout).ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real Prometheus scrapes, loads the alerts, and answers each question of the dashboard.
#[test]
fn prometheus_answers_the_dashboard() {
    let server = Server::start("");
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let player = Player::open(&server, "/live/a.flv");
    player.wait_more(20, PATIENCE);
    let prometheus = Prometheus::start(&server);
    wait_for(
        "it has scraped several times",
        Duration::from_secs(60),
        || {
            let traffic = "sum(rate(pingora_live_bytes_total{direction=\"out\"}[10s])) > 0";
            let found = prometheus.ask("query", traffic)?;
            (!found["result"].as_array()?.is_empty()).then_some(())
        },
    );
    // Of what did not happen, there is no quantile.
    let may_lack = ["hook_seconds", "proxy", "proxied", "> 0"];
    for expression in expressions() {
        let found = prometheus.ask("query", &expression).expect("an answer");
        let empty = found["result"].as_array().expect("a result").is_empty();
        let expected = !may_lack.iter().any(|part| expression.contains(part));
        assert!(!empty || !expected, "{expression} finds nothing");
    }
    let rules = wait_for("the alerts are evaluated", PATIENCE, || {
        let rules = prometheus.ask("rules", "")?;
        let rules = rules["groups"][0]["rules"].as_array()?.clone();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    });
    assert!(rules.len() > 8, "{rules:?}");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let expected = "inactive";
        assert_eq!(rule["state"], expected, "of a server that is well: {rule}");
    }
}

/// What Prometheus's own tool says of the metrics while there is load, and what the dashboard and the alerts ask for is there.
#[test]
fn metrics_dashboard_and_alerts() {
    let server = Server::start("api: { metrics: { per_stream: on } }\n");
    let _feed = Feed::start(&server, "live", "a", Plan::of(&fixtures::h264_aac()));
    server.wait_stream("/live/a.flv");
    let players: Vec<Player> = (0..20)
        .map(|_| Player::open(&server, "/live/a.flv"))
        .collect();
    let mut last = 0.0;
    let mut text = String::new();
    for player in &players {
        player.wait_more(20, PATIENCE);
        text = http::get(server.address("api"), "/metrics").text();
        let out = text
            .lines()
            .find_map(|l| l.strip_prefix("pingora_live_bytes_total{direction=\"out\"} "));
        let out: f64 = out.expect("bytes").parse().expect("a number");
        assert!(out >= last, "a counter never falls: {last} and then {out}");
        last = out;
    }
    assert!(
        text.contains(
            "pingora_live_stream_players{vhost=\"__defaultVhost__\",app=\"live\",stream=\"a\"} 20"
        ),
        "{text}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("metrics");
    fs::write(&file, &text).expect("a file");
    let mut promtool = Command::new("sh");
    promtool
        .args(["-c", "promtool check metrics < \"$0\""])
        .arg(&file);
    programs::run(&mut promtool, PATIENCE).success();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut promtool = Command::new("promtool");
    programs::run(
        promtool
            .args(["check", "rules"])
            .arg(docs.join("alerts.yaml")),
        PATIENCE,
    )
    .success();

    let known: BTreeSet<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let dashboard = fs::read_to_string(docs.join("grafana.json")).expect("a dashboard");
    let parsed: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(
        parsed["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
    let alerts = fs::read_to_string(docs.join("alerts.yaml")).expect("rules");
    let mut asked = 0;
    for word in (dashboard + &alerts).split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("pingora_live_") || word.starts_with("process_") {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(known.contains(name), "{name} is no metric");
            asked += 1;
        }
    }
    assert!(asked > 20);
}
