//! The files of the project, as they stand there but for ports and Redis.

use super::*;

/// The files of the project, as they stand there but for ports and Redis.
#[test]
fn the_example_files_are_a_cluster() {
    let redis = Redis::start();
    let start = |letter: &str| {
        let file = format!("config/origin.cluster.server{letter}.yaml");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = crate::support::server::command();
        command
            .arg("-c")
            .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
            .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
            .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0")
            .env("PINGORA_LIVE_REGISTRY_REDIS", redis.url());
        Server::spawn(command, folder)
    };
    let (a, b, c) = (start("A"), start("B"), start("C"));
    let _feed = Feed::start(&b, "live", "livestream", plan());
    wait_sent(&c, &b, "/live/livestream.flv");
    wait_sent(&a, &b, "/live/livestream.flv");
    plays(&b, "/live/livestream.flv");
}

/// The file for an origin of a CDN: what is not there is 404 at once, and who asks is the one that the CDN names.
#[test]
fn the_origin_of_a_cdn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = crate::support::server::command();
    command
        .arg("-c")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cdn.origin.yaml"))
        .env("PINGORA_LIVE_RTMP_LISTEN", "127.0.0.1:0")
        .env("PINGORA_LIVE_HTTP_LISTEN", "127.0.0.1:0");
    let origin = Server::spawn(command, folder);
    let missing = http::get(origin.address("http"), "/live/x.flv");
    assert_eq!(missing.status, 404);
    let _feed = Feed::start(&origin, "live", "x", plan());
    let headers = [("X-Forwarded-For", "203.0.113.7")];
    wait_for("it plays", PATIENCE, || {
        let player = Player::open_with(origin.address("http"), "/live/x.flv", &headers, None);
        let plays = player.wait_status(PATIENCE) == 200;
        plays.then(|| player.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5))
    });
    origin.wait_log(&["203.0.113.7", "play ended"], PATIENCE);
}
