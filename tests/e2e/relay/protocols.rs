//! `protocol: follow_client`: the pull speaks what its first player speaks.

use super::super::support::feed::{Feed, Plan};
use super::super::support::flv::VIDEO;
use super::super::support::player::Player;
use super::super::support::programs::{self, FFMPEG_DEBIAN, Job};
use super::super::support::server::Server;
use super::super::support::{PATIENCE, fixtures, wait_for};
use super::{edge_of, http_of, lines, rtmp_of};

/// ffmpeg plays some frames of it.
fn ffmpeg_plays(url: &str) {
    let mut command = std::process::Command::new(FFMPEG_DEBIAN);
    command.args(["-v", "error", "-i", url, "-frames:v", "10", "-c", "copy"]);
    command.args(["-f", "null", "-"]);
    programs::run(&mut command, PATIENCE).success();
}

/// What the origin says of the plays of a stream when they are over.
fn plays(origin: &Server, stream: &str, protocol: &str) -> usize {
    let stream = format!("stream=\"{stream}\"");
    let protocol = format!("protocol=\"{protocol}\"");
    lines(origin, &["play ended", &stream, &protocol])
}

/// RTMP for a player of RTMP, HTTP-FLV for all others; whoever comes later shares what is there.
#[test]
fn the_pull_speaks_what_its_first_player_speaks() {
    let origin = Server::start("");
    let _feeds: Vec<Feed> = ["a", "b", "c"]
        .into_iter()
        .map(|name| Feed::start(&origin, "live", name, Plan::of(&fixtures::h264_aac())))
        .collect();
    let origins = [
        format!("rtmp://{}", rtmp_of(&origin)),
        format!("http://{}", http_of(&origin)),
    ];
    let edge = Server::start(&edge_of(&origins, "protocol: follow_client, idle: 0s"));
    let pulls = |kind: &str| origin.connections(kind);
    let publishers = pulls("rtmp");

    // RTMP first, then HTTP: one pull, by RTMP.
    let mut command = std::process::Command::new(FFMPEG_DEBIAN);
    command.args(["-v", "error", "-i", &edge.rtmp("live/a")]);
    command.args(["-c", "copy", "-f", "null", "-"]);
    let first = Job::start(&mut command);
    wait_for("it is pulled", PATIENCE, || {
        (pulls("rtmp") == publishers + 1).then_some(())
    });
    let second = Player::open(&edge, "/live/a.flv");
    second.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    assert_eq!(pulls("http"), 0);
    drop((first.kill(), second));
    wait_for("a was pulled by RTMP", PATIENCE, || {
        (plays(&origin, "a", "rtmp") == 1).then_some(())
    });

    // HTTP first, then RTMP: one pull, by HTTP.
    let first = Player::open(&edge, "/live/b.flv");
    first.wait("frames", PATIENCE, |flv| flv.frames(VIDEO).len() > 5);
    ffmpeg_plays(&edge.rtmp("live/b"));
    assert_eq!((pulls("http"), pulls("rtmp")), (1, publishers));
    drop(first);
    wait_for("b was pulled by HTTP", PATIENCE, || {
        (plays(&origin, "b", "http1") == 1).then_some(())
    });

    // MPEG-TS is HTTP too.
    ffmpeg_plays(&edge.http("/live/c.ts"));
    wait_for("c was pulled by HTTP", PATIENCE, || {
        (plays(&origin, "c", "http1") == 1).then_some(())
    });
    assert_eq!(
        plays(&origin, "a", "http1") + plays(&origin, "b", "rtmp"),
        0
    );
}

/// Origins that name one protocol serve all players; and an entry without one is asked by either, each at its own port.
#[test]
fn origins_of_one_protocol_serve_all_players() {
    let origin = Server::start("");
    let _feed = Feed::start(&origin, "live", "x", Plan::of(&fixtures::h264_aac()));
    for address in [
        format!("rtmp://{}", rtmp_of(&origin)),
        format!("http://{}", http_of(&origin)),
    ] {
        for by_rtmp in [true, false] {
            let edge = Server::start(&edge_of(
                std::slice::from_ref(&address),
                "protocol: follow_client",
            ));
            if by_rtmp {
                ffmpeg_plays(&edge.rtmp("live/x"));
            } else {
                ffmpeg_plays(&edge.http("/live/x.flv"));
            }
        }
    }
}
