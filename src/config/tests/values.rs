//! What is accepted, and what it means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::good;
use crate::config::{
    Balance, ClusterMode, Config, DvrPlan, ForwardedHeader, HashBy, HealthCheckKind, Live,
    LogFormat, LogLevel, OnBusy, OnExpiry, OnFailure, OnMissing, OriginBalance, Referrer,
    RelayProtocol, RouteStreams, Scheme, Secret, StartTime, TimeJitter, TokenScheme, print_config,
};

#[test]
fn an_empty_file_is_a_working_server() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "live:\n",
        "live: {}\n",
        "live: null\n",
        "live: { http: , vhosts: }\n",
        "\u{feff}live: {}\n",
    ] {
        assert_eq!(good(text), Config::default(), "{text:?}");
    }
    let live = Live::default();
    assert_eq!(live.rtmp.listen, ["0.0.0.0:1935".parse().unwrap()]);
    assert_eq!(live.http.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!((live.rtmp.tls, live.https), (None, None));
    assert_eq!(live.vhosts.keys().collect::<Vec<_>>(), ["__defaultVhost__"]);
}

/// One file that sets every key to something else than its default.
const EVERY_KEY: &str = "
threads: 4
pid_file: /run/live.pid
user: null
fast_timeout_to_tokio_threshold_seconds: ~
client_bind_to_ipv4: [10.0.0.1]
live:
  trusted_proxies: [10.0.0.0/8, 'fd00::1']
  forwarded_header: x-forwarded-for
  rtmp:
    listen: 1940
    proxy_protocol: on
    chunk_size: 4096
    tls: { listen: 1941, proxy_protocol: on, cert: /tls/rtmp.crt, key: /tls/rtmp.key }
  http: { listen: [80], proxy_protocol: on, crossdomain: off, h2c: false, root: ./files }
  api:
    listen: 1986
    auth: { username: ops, password: \"***\", token: \"***\" }
    hosts: api.example.com
    metrics: { per_stream: on, max_streams: 7 }
  https:
    listen: ['0.0.0.0:443', '[::]:443']
    proxy_protocol: on
    certs:
      - { cert: /tls/a.crt, key: '/tls/a b.key' }
      - cert: /tls/b.crt
        key: /tls/b.key
        names: [Live.Example.com, '*.example.org']
    http2: off
  limits:
    connections: 0
    connections_per_ip: 10
    accept_rate_per_ip: 11
    request_rate_per_ip: 12
    publish_kbps: 13
    players_per_stream: 1000
    streams: 5
    hook_requests: 8
    hook_queue: 100
    stream_memory: 64MiB
    send_buffer: 100KB
    player_stall: 30s
    overflow: ['https://cdn.example/live/', 'rtmp://[::1]']
  registry: { redis: 'rediss://r.example/1', tls_ca: /tls/redis.crt, prefix: 'a:', ttl: 30s, timeout: 300ms }
  node:
    name: a-1
    host: A.example
    http: http://a.example/
    https: https://a.example
    rtmp: rtmp://a.example
    rtmps: rtmps://a.example:443
    inside: http://10.0.0.1:8080
  log: { level: debug, format: json }
  upstreams:
    Web-1:
      servers: [127.0.0.1:3000, '[::1]:3000', api.internal:80]
      tls: on
      sni: api.example.com
      verify: on
      ca: /tls/ca.crt
      http2: on
      balance: hash
      hash_by: client
      retries: 3
      fail_timeout: 0
      connect_timeout: 1s
      read_timeout: 1h
      write_timeout: 10s
      idle_timeout: 5s
      health_check: { kind: http, path: '/health?full=1', host: api.example.com, interval: 1s, timeout: 500ms, fall: 3, rise: 2 }
  routes:
    - host: ['*.Example.com', example.org]
      path: /api/
      upstream: Web-1
      streams: none
      strip_prefix: on
      websocket: off
      request: { set: { Host: api.example.com }, add: { X-A: 'b, c' }, remove: [Cookie, X-B] }
      response: { set: {}, add: { Vary: Origin }, remove: Server }
  vhosts:
    __defaultVhost__:
      enabled: off
    Live.Example.com:
      enabled: true
      http_remux:
        enabled: off
        mounts: ['/[app]/[stream].flv', 'flv/[app]-[stream].flv']
        fast_cache: 45s
        mp3_bitrate: 192
        drop_if_not_match: off
        has_audio: off
        has_video: off
        guess_has_av: off
        guess_wait: 0
      play:
        gop_cache: off
        gop_cache_max_frames: 0
        queue_length: 1m
        mw_latency: 350ms
        time_jitter: off
        start_time: zero
        mix_correct: on
        on_missing: 404
        wait: 0s
      publish:
        firstpkt_timeout: 1m
        normal_timeout: 1500ms
        on_busy: kick
        republish_wait: 0
        kickoff_for_idle: 1h
        lazy_read: 40ms
      dvr:
        enabled: on
        path: /data/[vhost]/[app]/[stream]/[2006][01][02]-[15][04][05].[999].flv
        plan: segment
        duration: 1m
        wait_keyframe: off
        time_jitter: zero
      cluster:
        mode: remote
        origin: ['10.0.0.1:19350', 'http://[::1]:8080']
        protocol: follow_client
        vhost: 'origin.[vhost]'
        token_traverse: on
        idle: 0s
        stall: 500ms
        standby: on
        balance: hash
        retry: 1s
        health_check: 0s
        tls_verify: on
        tls_ca: /tls/origins.crt
        h2c: on
        on_elsewhere: proxy
      forward:
        enabled: on
        destination: ['cdn:1936', 'rtmps://cdn.example/[app]/[stream]?key=1']
        backend: 'http://127.0.0.1:8085/api/v1/forward'
        tls_verify: off
      security:
        enabled: on
        seal: [allow play all, 'deny publish 10.0.0.0/8']
      refer:
        enabled: on
        all: [Example.com, none]
        play: www.example.com
        publish: none
      tokens:
        play:
          enabled: on
          scheme: secure_link
          keys:
            - { id: old, key: an old key }
            - { id: new, key: a new key }
          validity: 30m
          max_uses: 3
          on_expiry: end
          secure_link_md5: '$secure_link_expires$uri $secret'
      http_hooks:
        enabled: on
        on_connect: 'http://127.0.0.1:8085/api/v1/clients'
        on_close: 'http://127.0.0.1:8085/api/v1/clients'
        on_publish: ['http://127.0.0.1:8085/api/v1/streams', 'https://b.example/x?y=z']
        on_unpublish: 'http://127.0.0.1:8085/api/v1/streams'
        on_play: 'http://127.0.0.1:8085/api/v1/sessions'
        on_stop: 'http://127.0.0.1:8085/api/v1/sessions'
        on_dvr: 'http://127.0.0.1:8085/api/v1/dvrs'
        timeout: 2s
        on_failure: allow
        retry_for: 0
";

#[test]
fn every_key_is_read() {
    let config = good(EVERY_KEY);
    let live = &config.live;
    assert_eq!(
        config
            .server
            .get("threads")
            .and_then(|value| value.as_u64()),
        Some(4)
    );
    assert!(config.server.get("live").is_none());
    let trusted: Vec<_> = live
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(trusted, ["10.0.0.0/8", "fd00::1"]);
    assert_eq!(live.forwarded_header, ForwardedHeader::XForwardedFor);
    assert_eq!(live.rtmp.chunk_size, 4096);
    let tls = live.rtmp.tls.as_ref().unwrap();
    assert_eq!(
        (tls.listen[0].port(), &tls.cert, &tls.key),
        (1941, &"/tls/rtmp.crt".into(), &"/tls/rtmp.key".into())
    );
    assert_eq!(
        (
            live.http.listen[0].port(),
            live.http.crossdomain.is_off(),
            live.http.h2c
        ),
        (80, true, false)
    );
    let https = live.https.as_ref().unwrap();
    assert_eq!((https.listen.len(), https.http2), (2, false));
    let announced = [
        live.rtmp.proxy_protocol,
        tls.proxy_protocol,
        live.http.proxy_protocol,
        https.proxy_protocol,
    ];
    assert!(!announced.contains(&false));
    assert_eq!(https.certs[0].key, PathBuf::from("/tls/a b.key"));
    assert_eq!(https.certs[1].names, ["live.example.com", "*.example.org"]);
    let auth = live.api.auth.as_ref().unwrap();
    assert_eq!(
        (&*auth.username, auth.password.expose(), auth.token.expose()),
        ("ops", "***", "***")
    );
    assert_eq!(
        (live.api.listen[0].port(), &live.api.hosts[..]),
        (1986, &["api.example.com".to_owned()][..])
    );
    let metrics = &live.api.metrics;
    assert_eq!((metrics.per_stream, metrics.max_streams), (true, 7));
    let limits = &live.limits;
    assert_eq!((limits.connections, limits.connections_per_ip), (0, 10));
    let rates = (limits.accept_rate_per_ip, limits.request_rate_per_ip);
    assert_eq!((rates, limits.publish_kbps), ((11, 12), 13));
    assert_eq!((limits.players_per_stream, limits.streams), (1000, 5));
    assert_eq!(
        (limits.stream_memory, limits.send_buffer),
        (64 << 20, 100_000)
    );
    assert_eq!(limits.player_stall, Duration::from_secs(30));
    let overflow: Vec<_> = limits.overflow.iter().map(|url| url.as_str()).collect();
    assert_eq!(overflow, ["https://cdn.example/live", "rtmp://[::1]"]);
    let registry = live.registry.as_ref().unwrap();
    assert_eq!(
        (registry.redis.expose(), registry.prefix.as_str()),
        ("rediss://r.example/1", "a:")
    );
    let tls_ca = registry.tls_ca.as_deref();
    assert_eq!(tls_ca, Some(Path::new("/tls/redis.crt")));
    assert_eq!(
        (registry.ttl, registry.timeout),
        (Duration::from_secs(30), Duration::from_millis(300))
    );
    let node = &live.node;
    assert_eq!(
        (node.name.as_deref(), node.host.as_deref()),
        (Some("a-1"), Some("a.example"))
    );
    let urls = [
        &node.http,
        &node.https,
        &node.rtmp,
        &node.rtmps,
        &node.inside,
    ];
    assert_eq!(
        urls.map(|url| url.as_ref().map_or("", |url| url.as_str())),
        [
            "http://a.example",
            "https://a.example",
            "rtmp://a.example",
            "rtmps://a.example:443",
            "http://10.0.0.1:8080"
        ]
    );
    assert_eq!(
        (live.log.level, live.log.format),
        (LogLevel::Debug, LogFormat::Json)
    );
    let web = &live.upstreams["Web-1"];
    let servers: Vec<_> = web.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:3000", "[::1]:3000", "api.internal:80"]);
    assert_eq!((web.tls, web.verify, web.http2), (true, true, true));
    assert_eq!(web.sni, "api.example.com");
    assert_eq!(web.ca, Some("/tls/ca.crt".into()));
    assert_eq!((web.balance, web.hash_by), (Balance::Hash, HashBy::Client));
    assert_eq!((web.retries, web.fail_timeout), (3, Duration::ZERO));
    assert_eq!(web.read_timeout, Duration::from_secs(3600));
    let check = &web.health_check;
    assert_eq!(check.kind, HealthCheckKind::Http);
    assert_eq!((check.fall, check.rise), (3, 2));
    assert_eq!(check.path, "/health?full=1");
    let route = &live.routes[0];
    assert_eq!(route.host, ["*.example.com", "example.org"]);
    assert_eq!(
        (route.path.as_str(), route.upstream.as_str()),
        ("/api/", "Web-1")
    );
    assert_eq!(route.streams, RouteStreams::None);
    assert_eq!((route.strip_prefix, route.websocket), (true, false));
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(route.request.set, pair("Host", "api.example.com"));
    assert_eq!(route.request.add, pair("X-A", "b, c"));
    assert_eq!(route.request.remove, ["Cookie", "X-B"]);
    assert_eq!(route.response.remove, ["Server"]);
    let vhost = &live.vhosts["live.example.com"];
    let remux = &vhost.http_remux;
    assert_eq!(
        remux
            .mounts
            .iter()
            .map(|mount| mount.as_str())
            .collect::<Vec<_>>(),
        ["/[app]/[stream].flv", "flv/[app]-[stream].flv"]
    );
    assert!(
        ![
            remux.enabled,
            remux.drop_if_not_match,
            remux.has_audio,
            remux.has_video,
            remux.guess_has_av
        ]
        .contains(&true)
    );
    assert_eq!(
        (remux.guess_wait, remux.fast_cache, remux.mp3_bitrate),
        (Duration::ZERO, Duration::from_secs(45), 192)
    );
    let play = &vhost.play;
    assert_eq!(
        (play.gop_cache, play.gop_cache_max_frames, play.mix_correct),
        (false, 0, true)
    );
    assert_eq!(
        (play.queue_length, play.mw_latency),
        (Duration::from_secs(60), Duration::from_millis(350))
    );
    assert_eq!(
        (play.time_jitter, play.start_time),
        (TimeJitter::Off, StartTime::Zero)
    );
    assert_eq!(
        (play.on_missing, play.wait),
        (OnMissing::NotFound, Duration::ZERO)
    );
    let publish = &vhost.publish;
    assert_eq!(publish.firstpkt_timeout, Duration::from_secs(60));
    assert_eq!(publish.normal_timeout, Duration::from_millis(1500));
    assert_eq!(publish.lazy_read, Duration::from_millis(40));
    assert_eq!(
        (publish.on_busy, publish.republish_wait),
        (OnBusy::Kick, Duration::ZERO)
    );
    assert_eq!(publish.kickoff_for_idle, Duration::from_secs(3600));
    let dvr = &vhost.dvr;
    assert_eq!((dvr.enabled, dvr.wait_keyframe), (true, false));
    assert_eq!(
        (dvr.plan, dvr.duration),
        (DvrPlan::Segment, Duration::from_secs(60))
    );
    assert_eq!(dvr.time_jitter, TimeJitter::Zero);
    assert_eq!(dvr.path.root().to_str(), Some("/data"));
    let rules: Vec<_> = vhost.security.seal.iter().map(|r| r.to_string()).collect();
    assert!(vhost.security.enabled);
    assert_eq!(rules, ["allow play all", "deny publish 10.0.0.0/8"]);
    let host = |name: &str| Referrer::Host(name.to_owned());
    let refer = &vhost.refer;
    assert!(refer.enabled);
    assert_eq!(refer.all, [host("example.com"), Referrer::None]);
    assert_eq!(refer.play, [host("www.example.com")]);
    assert_eq!(refer.publish, [Referrer::None]);
    let hooks = &vhost.http_hooks;
    assert!(hooks.enabled);
    let urls: Vec<_> = hooks.on_publish.iter().map(|url| url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:8085/api/v1/streams",
            "https://b.example/x?y=z"
        ]
    );
    assert_eq!(
        (hooks.timeout, hooks.on_failure, hooks.retry_for),
        (Duration::from_secs(2), OnFailure::Allow, Duration::ZERO)
    );
    assert_eq!(
        (live.limits.hook_requests, live.limits.hook_queue),
        (8, 100)
    );
    let token = &vhost.tokens.play;
    assert!(token.enabled && !vhost.tokens.publish.enabled);
    assert_eq!(
        (token.scheme, token.on_expiry, token.max_uses),
        (TokenScheme::SecureLink, OnExpiry::End, 3)
    );
    assert_eq!(token.validity, Duration::from_secs(1_800));
    assert_eq!(token.secure_link_md5, "$secure_link_expires$uri $secret");
    let keys: Vec<_> = token
        .keys
        .iter()
        .map(|k| (k.id.as_str(), k.key.expose()))
        .collect();
    assert_eq!(keys, [("old", "an old key"), ("new", "a new key")]);
    assert!(!print_config(&config).contains("an old key"));
    let cluster = &vhost.cluster;
    assert_eq!(
        (cluster.mode, cluster.protocol, cluster.balance),
        (
            ClusterMode::Remote,
            RelayProtocol::FollowClient,
            OriginBalance::Hash
        )
    );
    assert_eq!(
        (cluster.origin.len(), cluster.origin[1].scheme),
        (2, Some(Scheme::Http))
    );
    assert!(cluster.token_traverse && cluster.standby && cluster.h2c);
    let tls_ca = cluster.tls_ca.as_deref();
    assert_eq!(tls_ca, Some(Path::new("/tls/origins.crt")));
    assert_eq!(
        (cluster.idle, cluster.stall, cluster.retry),
        (
            Duration::ZERO,
            Duration::from_millis(500),
            Duration::from_secs(1)
        )
    );
    assert_eq!(cluster.vhost, "origin.[vhost]");
    let forward = &vhost.forward;
    assert!(forward.enabled && !forward.tls_verify);
    assert_eq!(forward.destination[1].path, "[app]/[stream]?key=1");
    let backend = forward.backend.as_ref().map(|url| url.as_str());
    assert_eq!(backend, Some("http://127.0.0.1:8085/api/v1/forward"));
    // No key was forgotten above: only what is off by default and has no other sense here is as it was.
    let shown = print_config(&config);
    for key in crate::config::keys() {
        let name = key.path.rsplit(['.']).next().unwrap();
        assert!(
            EVERY_KEY.contains(&format!("{name}:")) && shown.contains(&format!("{name}:")),
            "{}",
            key.path
        );
    }
}

#[test]
fn what_is_printed_reads_back() {
    for text in [
        "",
        EVERY_KEY,
        "live: { https: { listen: [], http2: off } }",
        "threads: 2",
        "live: { vhosts: { '[::1]': { enabled: off }, on: {}, '10.0.0.1': {} } }",
        "live: { https: { certs: [{ cert: 'a\"\\b\u{e9} #: x', key: 'on' }] } }",
    ] {
        let mut config = good(text);
        let printed = print_config(&config);
        // Secrets are not printed.
        for vhost in config.live.vhosts.values_mut() {
            for key in &mut vhost.tokens.play.keys {
                key.key = Secret::new("***");
            }
            for url in &mut vhost.http_hooks.on_publish {
                *url = url.shown().parse().unwrap();
            }
            for destination in &mut vhost.forward.destination {
                if let Some((path, _)) = destination.path.split_once('?') {
                    destination.path = format!("{path}?***");
                }
            }
        }
        assert_eq!(good(&printed), config, "\n{printed}");
        assert_eq!(print_config(&good(&printed)), printed);
    }
}
