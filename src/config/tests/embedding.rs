//! pingora's keys beside ours, and a configuration that is another program's, or no file at all.

use super::good;
use crate::config::{Cert, Config, Live, server_keys};

/// pingora gets its keys as they stand in the file, and nothing of ours.
#[test]
fn the_servers_keys_go_on_untouched() {
    let config = good(
        "version: 1\nthreads: 4\nlive: { http: { listen: 80 } }\nclient_bind_to_ipv4: [1.2.3.4]\nerror_log: \"007\"\n",
    );
    let yaml = config.server_yaml();
    assert_eq!(
        yaml,
        "version: 1\nthreads: 4\nclient_bind_to_ipv4:\n- 1.2.3.4\nerror_log: '007'\n"
    );
    assert_eq!(Config::default().server_yaml().trim(), "{}");
}

/// What pingora 0.9.1 writes as its own defaults (`ServerConf::to_yaml`) is accepted, and is all that is known.
#[test]
fn the_servers_own_defaults_are_accepted() {
    let yaml = "\
version: 0
daemon: false
error_log: null
pid_file: /tmp/pingora.pid
upgrade_sock: /tmp/pingora_upgrade.sock
user: null
group: null
working_directory: null
threads: 1
listener_tasks_per_fd: 1
work_stealing: true
runtime_enable_alt_timer: false
ca_file: null
grace_period_seconds: null
graceful_shutdown_timeout_seconds: null
client_bind_to_ipv4: []
client_bind_to_ipv6: []
upstream_keepalive_pool_size: 128
upstream_connect_offload_threadpools: null
upstream_connect_offload_thread_per_pool: null
downstream_tls_offload_threadpools: null
downstream_tls_offload_thread_per_pool: null
upstream_debug_ssl_keylog: false
max_retries: 16
upgrade_sock_connect_accept_max_retries: null
max_blocking_threads: null
blocking_threads_ttl_seconds: null
fast_timeout_to_tokio_threshold_seconds: 900
runtime_metrics_poll_time_histogram: false
runtime_metrics_poll_time_histogram_scale: null
runtime_metrics_poll_time_histogram_resolution_micros: null
runtime_metrics_poll_time_histogram_buckets: null
daemon_wait_for_ready: false
daemon_ready_timeout_seconds: null
daemon_notify_timeout_seconds: null
";
    let config = good(yaml);
    assert!(
        config
            .server
            .keys()
            .filter_map(|key| key.as_str())
            .eq(server_keys())
    );
}

/// A proxy with its own keys in the same file.
#[test]
fn the_live_part_alone() {
    let text = "my_own_key: 1\nlive: { http: { listen: 80 } }\n";
    let live = Live::from_yaml(text, "proxy.yaml", std::iter::empty()).unwrap();
    assert_eq!(live.http.listen[0].port(), 80);
    let error = Live::from_yaml(
        "mine: 1\nlive: { htp: 1 }\n",
        "proxy.yaml",
        std::iter::empty(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "proxy.yaml:2:9: live.htp: unknown key; did you mean `http`?"
    );
}

/// A configuration that was built in code has no lines.
#[test]
fn built_in_code() {
    let mut live = Live::default();
    assert_eq!(live.validate(), Ok(()));
    live.rtmp.listen.clone_from(&live.http.listen);
    assert_eq!(
        live.validate().unwrap_err().to_string(),
        "defaults: live.http.listen: 0.0.0.0:8080 is taken by live.rtmp.listen (0.0.0.0:8080)"
    );
    assert_eq!(Cert::default().names, Vec::<String>::new());
}
