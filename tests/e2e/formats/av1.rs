//! AV1 in MPEG-TS, by the draft of the Alliance for Open Media.

use super::readers::check_browser;
use crate::SHORT;
use crate::support::elementary::{Unit, assert_run, coded, obus_of_pes, obus_of_tag, opus_packet};
use crate::support::feed::{Feed, Plan};
use crate::support::flv::{AUDIO, Tag, VIDEO};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::ts::{self, PRIVATE, STEP, lasts};
use crate::support::{PATIENCE, fixtures};

/// The first of a packet's OBUs that holds a frame begins it.
fn frames(obus: &[Vec<u8>]) -> usize {
    obus.iter()
        .filter(|obu| matches!(obu[0] >> 3, 3 | 6))
        .count()
}

/// E-RTMP's `MPEG2TSSequenceStart` for its `SequenceStart`: tag and length of the AV1 video descriptor, and the record's first bytes.
fn with_descriptor(tag: &Tag) -> Vec<Tag> {
    match tag.body.strip_prefix(b"\x90av01") {
        Some([]) => Vec::new(),
        Some(record) => {
            let body = [&b"\x95av01\x80\x04"[..], &record[..4]].concat();
            vec![Tag::new(tag.kind, tag.dts, &body)]
        }
        None => vec![tag.clone()],
    }
}

/// Each OBU that was published comes, and each frame has a packet of its own, those that are not shown too.
#[test]
fn each_obu_comes_as_it_was() {
    let server = Server::start(SHORT);
    // One frame in each unit, and up to five of which one is shown; and the first with a descriptor for a configuration record.
    let all = [
        ("a", Plan::of(&fixtures::av1_aac())),
        ("b", Plan::of(&fixtures::av1_opus())),
        ("c", Plan::of(&fixtures::av1_aac()).mapped(with_descriptor)),
    ];
    let feeds = all
        .each_ref()
        .map(|(name, plan)| Feed::start(&server, "live", name, plan.clone()));
    let players = all
        .each_ref()
        .map(|(name, _)| Raw::open(&server, &format!("/live/{name}.ts")));
    for ((name, _), (player, feed)) in all.iter().zip(players.iter().zip(&feeds)) {
        let bytes = player.wait("three seconds", PATIENCE, |bytes| lasts(bytes, 3.0));
        super::check_pieces(player);
        let ts = ts::check(&bytes, STEP);
        assert_eq!(ts.tables[0], 0, "{name} begins with a PAT");
        let map = &ts.maps[0].streams;
        let (video, audio) = (map[0], map[1]);
        assert_eq!((map.len(), video), (2, (PRIVATE, 0x100)));
        let pictures = ts.of(video.1);
        assert!(pictures[0].random_access, "{name} begins with a keyframe");
        let sent = feed.sent();
        let published: Unit = sent
            .iter()
            .filter(|tag| tag.kind == VIDEO && tag.is_coded())
            .flat_map(obus_of_tag)
            .collect();
        let mut came: Unit = Vec::new();
        for picture in &pictures {
            let obus = obus_of_pes(&picture.payload);
            assert_eq!(frames(&obus), 1, "{name}: a frame in each packet");
            assert_eq!(picture.random_access, obus[0][0] >> 3 == 1, "{name}");
            came.extend(obus);
        }
        assert_run(name, &came, &published);
        let sound = ts.of(audio.1);
        if *name == "b" {
            assert!(pictures.len() > 80, "{} frames", pictures.len());
            let packets: Vec<Unit> = sound.iter().map(|pes| opus_packet(&pes.payload)).collect();
            assert_run("the sound", &packets, &coded(&sent, AUDIO));
        }
    }
}

/// The one reader of the draft that we know.
#[test]
fn chromium_plays_it() {
    let server = Server::start(SHORT);
    let _feed = Feed::start(&server, "live", "x", Plan::of(&fixtures::av1_aac()));
    server.wait_stream("/live/x.ts");
    check_browser(&server, "live/x.ts");
}
