//! Real clients: what they sent (`testdata/`, see its README) is replayed, and the events and replies are as when they were recorded.

use super::*;
use proptest::prelude::*;

struct Recording {
    name: &'static str,
    bytes: &'static [u8],
    /// How the events begin.
    events: &'static [&'static str],
    /// How many there are.
    count: usize,
    /// All replies: names of commands, types of other messages.
    replies: &'static [&'static str],
}

macro_rules! recording {
    ($name:literal, $count:literal, $events:expr, $replies:expr) => {
        Recording {
            name: $name,
            bytes: include_bytes!(concat!("../../testdata/", $name, ".bin")),
            events: $events,
            count: $count,
            replies: $replies,
        }
    };
}

const RECORDINGS: &[Recording] = &[];

/// One line for each event: what it is, and the first bytes of what it carries.
fn line(event: &Event) -> String {
    match event {
        Event::Connect(connect) => {
            let fourccs = connect.fourcc_list.join(",");
            format!("connect {} {} [{fourccs}]", connect.app, connect.flash_ver)
        }
        Event::Publish(publish) => format!("publish {} {} {:?}", publish.stream_id, publish.name, publish.kind),
        Event::Play(play) => format!("play {} {} {}", play.stream_id, play.name, play.start),
        Event::Media { stream_id, kind, timestamp, payload } => {
            let head: String = payload.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
            format!("{kind:?} {stream_id} {timestamp} {} {head}", payload.len())
        }
        Event::Data { stream_id, name, timestamp, payload } => {
            format!("data {stream_id} {timestamp} {name} {}", payload.len())
        }
        Event::Unpublish { stream_id } => format!("unpublish {stream_id}"),
    }
}

fn replay(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Vec<String>) {
    let mut peer = Peer::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().copied().cycle());
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        rest = tail;
        events.extend(peer.feed(head).unwrap().iter().map(line));
        sent.extend(peer.replies());
    }
    (events, sent)
}

#[test]
fn the_events_and_replies_are_as_recorded() {
    for recording in RECORDINGS {
        let (events, replies) = replay(recording.bytes, &[recording.bytes.len()]);
        let shown = events.iter().take(recording.events.len()).map(String::as_str).collect::<Vec<_>>();
        assert_eq!(shown, recording.events, "{}", recording.name);
        assert_eq!(events.len(), recording.count, "{}", recording.name);
        assert_eq!(replies, recording.replies, "{}", recording.name);
    }
}

#[test]
fn byte_by_byte_is_the_same() {
    for recording in RECORDINGS {
        let whole = replay(recording.bytes, &[recording.bytes.len()]);
        assert_eq!(replay(recording.bytes, &[1]), whole, "{}", recording.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_splits_are_the_same(
        recording in 0..RECORDINGS.len(),
        sizes in prop::collection::vec(1..3000_usize, 1..20),
    ) {
        let bytes = RECORDINGS[recording].bytes;
        prop_assert_eq!(replay(bytes, &sizes), replay(bytes, &[bytes.len()]));
    }
}
