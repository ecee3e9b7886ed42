use proptest::prelude::*;

use std::fs::File;

use super::*;
use crate::files::scan::scan;
use crate::media::flv::FlvReader;
use crate::rtmp::amf0::{self, Value};

const AVC_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 100, 0, 30, 0xff, 0xe0, 0];
const AVC_HEADER_2: &[u8] = &[0x17, 0, 0, 0, 0, 1, 77, 0, 31, 0xff, 0xe0, 0];
const AAC_HEADER: &[u8] = &[0xaf, 0, 0x11, 0x90];
const AVC_END: &[u8] = &[0x17, 2, 0, 0, 0];

/// A file as it is built: tags with their places.
struct Built {
    bytes: Vec<u8>,
    /// Place, time, type and first byte of each tag.
    tags: Vec<(u64, u32, u8, u8)>,
}

impl Built {
    fn new(flags: u8) -> Self {
        let bytes = [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0].to_vec();
        Self {
            bytes,
            tags: Vec::new(),
        }
    }

    fn tag(&mut self, first: u8, ms: u32, body: &[u8]) {
        self.tags.push((
            self.bytes.len() as u64,
            ms,
            first,
            body.first().copied().unwrap_or(0),
        ));
        let mut out = BytesMut::new();
        put_tag(first, ms, body, &mut out);
        self.bytes.extend_from_slice(&out);
    }

    fn keyframes(&self) -> Vec<(u64, u32)> {
        let key = |tag: &&(u64, u32, u8, u8)| tag.2 == TAG_VIDEO && tag.3 == 0x17;
        // The first is the sequence header.
        self.tags
            .iter()
            .filter(key)
            .skip(1)
            .map(|tag| (tag.0, tag.1))
            .collect()
    }
}

fn metadata_body(properties: Vec<(&str, Value)>) -> BytesMut {
    let mut out = BytesMut::new();
    amf0::encode(&Value::String("onMetaData".to_owned()), &mut out);
    let properties = properties
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    amf0::encode(&Value::EcmaArray(properties), &mut out);
    out
}

/// Ten seconds: a keyframe each second, four pictures and ten frames of sound between two.
fn media(built: &mut Built) {
    built.tag(TAG_VIDEO, 0, AVC_HEADER);
    built.tag(TAG_AUDIO, 0, AAC_HEADER);
    for ms in (0..10_000).step_by(100) {
        if ms % 200 == 0 {
            let first = if ms % 1000 == 0 { 0x17 } else { 0x27 };
            let mut body = vec![first, 1, 0, 0, 0];
            body.resize(200 + ms as usize % 77, 0xaa);
            built.tag(TAG_VIDEO, ms, &body);
        }
        built.tag(TAG_AUDIO, ms + 10, &[0xaf, 1, 1, 2, 3, 4, 5, 6, 7]);
    }
}

/// Makes the index's lists of the places and times that the keyframes have in the end.
type MakeIndex<'a> = &'a dyn Fn(&[(u64, u32)]) -> Vec<(f64, f64)>;

fn recording(index: Option<MakeIndex<'_>>) -> Built {
    let with = |entries: Vec<(f64, f64)>| {
        let (times, places): (Vec<Value>, Vec<Value>) = entries
            .iter()
            .map(|(time, place)| (Value::Number(*time), Value::Number(*place)))
            .unzip();
        let keyframes = Value::Object(vec![
            ("times".to_owned(), Value::StrictArray(times)),
            ("filepositions".to_owned(), Value::StrictArray(places)),
        ]);
        let mut properties = vec![
            ("duration", Value::Number(10.0)),
            ("filesize", Value::Number(1.0)),
        ];
        if !entries.is_empty() {
            properties.push(("keyframes", keyframes));
        }
        let mut built = Built::new(FLAG_AUDIO | FLAG_VIDEO);
        built.tag(TAG_SCRIPT, 0, &metadata_body(properties));
        media(&mut built);
        built
    };
    let Some(index) = index else {
        return with(Vec::new());
    };
    // The index moves what it points to: its length is known from a first try.
    let first = with(index(&with(Vec::new()).keyframes()));
    with(index(&first.keyframes()))
}

fn good_index(keyframes: &[(u64, u32)]) -> Vec<(f64, f64)> {
    keyframes
        .iter()
        .map(|(at, ms)| (f64::from(*ms) / 1000.0, *at as f64))
        .collect()
}

/// What the scanner says of a file in memory, and how many times it read.
fn search(bytes: &[u8], seek: Seek) -> (Outcome, usize) {
    let mut scanner = Scanner::new(bytes.len() as u64, seek);
    let mut reads = 0;
    loop {
        match scanner.step() {
            Step::Done(outcome) => return (outcome, reads),
            Step::Read { at, len } => {
                assert!((1..=MAX_PACKET).contains(&len), "{len} bytes at once");
                reads += 1;
                assert!(reads < bytes.len() * 4 + 100, "it does not end");
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                scanner.feed(&bytes[from..from.saturating_add(len).min(bytes.len())]);
            }
        }
    }
}

#[track_caller]
fn cut_at(bytes: &[u8], seek: Seek) -> Cut {
    match search(bytes, seek).0 {
        Outcome::Cut(cut) => cut,
        other => panic!("{seek:?}: {other:?}"),
    }
}

fn read(bytes: &[u8]) -> Vec<crate::media::flv::FlvTag> {
    let mut reader = FlvReader::new();
    reader.feed(bytes);
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll().expect("an FLV file") {
        tags.push(tag);
    }
    assert!(reader.is_between_tags() && reader.mismatches() == 0);
    tags
}

fn whole(bytes: &[u8], cut: &Cut) -> Vec<u8> {
    [&cut.head[..], &bytes[cut.from as usize..]].concat()
}

#[test]
fn at_a_byte_with_an_index_and_without() {
    for built in [recording(None), recording(Some(&good_index))] {
        let keyframes = built.keyframes();
        for start in 1..built.bytes.len() as u64 {
            let expected = keyframes.iter().map(|(at, _)| *at).find(|at| *at >= start);
            match search(&built.bytes, Seek::Byte(start)).0 {
                Outcome::Cut(cut) => assert_eq!(Some(cut.from), expected, "start={start}"),
                Outcome::Beyond => assert_eq!(expected, None, "start={start}"),
                other => panic!("start={start}: {other:?}"),
            }
        }
        for start in [built.bytes.len() as u64, u64::MAX] {
            assert_eq!(
                search(&built.bytes, Seek::Byte(start)),
                (Outcome::Beyond, 0)
            );
        }
    }
}

#[test]
fn at_a_time_with_an_index_and_without() {
    for built in [recording(None), recording(Some(&good_index))] {
        let keyframes = built.keyframes();
        for ms in (1..9_910).step_by(7) {
            let expected = keyframes
                .iter()
                .rfind(|(_, at)| *at <= ms)
                .expect("one at 0");
            assert_eq!(
                cut_at(&built.bytes, Seek::Time(ms.into())).from,
                expected.0,
                "start_ms={ms}"
            );
        }
        for ms in [9_911, 20_000, u64::MAX] {
            assert_eq!(
                search(&built.bytes, Seek::Time(ms)).0,
                Outcome::Beyond,
                "start_ms={ms}"
            );
        }
    }
}

#[test]
fn an_index_saves_reading() {
    let (with, without) = (recording(Some(&good_index)), recording(None));
    for seek in [Seek::Time(8_500), Seek::Byte(with.keyframes()[8].0)] {
        let reads = (search(&with.bytes, seek).1, search(&without.bytes, seek).1);
        assert!(reads.0 * 4 < reads.1, "{reads:?}");
    }
}

/// An index that names one keyframe in three: the ones between are found all the same.
#[test]
fn an_index_with_gaps() {
    let thinned = |keyframes: &[(u64, u32)]| good_index(keyframes).into_iter().step_by(3).collect();
    let built = recording(Some(&thinned));
    for (at, ms) in built.keyframes() {
        assert_eq!(cut_at(&built.bytes, Seek::Byte(at)).from, at);
        assert_eq!(
            cut_at(&built.bytes, Seek::Time(u64::from(ms.max(1)))).from,
            at
        );
    }
}

/// Whatever an index says, what is found is a keyframe, and for a time it is the right one.
#[test]
fn indexes_that_are_wrong() {
    type Index = dyn Fn(&[(u64, u32)]) -> Vec<(f64, f64)>;
    let shifted: &Index = &|keyframes| {
        good_index(keyframes)
            .into_iter()
            .map(|(time, at)| (time, at + 3.0))
            .collect()
    };
    let late: &Index = &|keyframes| {
        good_index(keyframes)
            .into_iter()
            .map(|(time, at)| (time - 5.0, at))
            .collect()
    };
    let nonsense: &Index = &|_| {
        vec![
            (f64::NAN, 5.0),
            (1.0, f64::INFINITY),
            (2.0, -1.0),
            (-1.0, 1e300),
            (3.0, 2.0),
            (4.0, 9e15),
        ]
    };
    let backwards: &Index = &|keyframes| good_index(keyframes).into_iter().rev().collect();
    // flvtool2 names the sequence header first.
    let header_first: &Index = &|keyframes| {
        let mut index = good_index(keyframes);
        index.insert(0, (0.0, keyframes[0].0 as f64 - 43.0));
        index
    };
    for index in [shifted, late, nonsense, backwards, header_first] {
        let built = recording(Some(index));
        let keyframes = built.keyframes();
        for ms in [500, 1_000, 4_321, 9_500] {
            let expected = keyframes
                .iter()
                .rfind(|(_, at)| *at <= ms)
                .expect("one at 0");
            assert_eq!(
                cut_at(&built.bytes, Seek::Time(ms.into())).from,
                expected.0,
                "start_ms={ms}"
            );
        }
        let middle = keyframes[5].0 - 1;
        assert_eq!(
            cut_at(&built.bytes, Seek::Byte(middle)).from,
            keyframes[5].0
        );
    }
}

#[test]
fn what_a_player_is_given() {
    let built = recording(Some(&good_index));
    let cut = cut_at(&built.bytes, Seek::Time(4_500));
    let tags = read(&whole(&built.bytes, &cut));
    let shape: Vec<_> = tags
        .iter()
        .take(4)
        .map(|tag| (tag.kind, tag.timestamp_ms))
        .collect();
    assert_eq!(
        shape,
        [
            (TAG_SCRIPT, 0),
            (TAG_VIDEO, 4_000),
            (TAG_AUDIO, 4_000),
            (TAG_VIDEO, 4_000)
        ]
    );
    assert_eq!(
        (&tags[1].body[..], &tags[2].body[..], tags[3].body[0]),
        (AVC_HEADER, AAC_HEADER, 0x17)
    );
    let metadata = Metadata::read(&tags[0].body);
    let names: Vec<&str> = metadata
        .properties()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["duration"]);
    // To the end, as it is.
    let rest = read(&built.bytes);
    assert_eq!(tags[3..], rest[rest.len() - (tags.len() - 3)..]);
}

/// The headers are those that hold at the cut, also when others come after it.
#[test]
fn a_codec_that_changes() {
    let mut built = Built::new(FLAG_VIDEO);
    built.tag(TAG_VIDEO, 0, AVC_HEADER);
    built.tag(TAG_VIDEO, 0, &[0x17, 1, 0, 0, 0, 1]);
    built.tag(TAG_VIDEO, 1_000, &[0x17, 1, 0, 0, 0, 2]);
    built.tag(TAG_VIDEO, 2_000, AVC_HEADER_2);
    built.tag(TAG_VIDEO, 2_000, &[0x17, 1, 0, 0, 0, 3]);
    built.tag(TAG_VIDEO, 3_000, &[0x17, 1, 0, 0, 0, 4]);
    built.tag(TAG_VIDEO, 3_000, AVC_END);
    for (ms, header, last) in [
        (1_500, AVC_HEADER, 2),
        (2_000, AVC_HEADER_2, 3),
        (3_000, AVC_HEADER_2, 4),
    ] {
        let tags = read(&whole(&built.bytes, &cut_at(&built.bytes, Seek::Time(ms))));
        assert_eq!(
            (&tags[0].body[..], tags[1].body[5]),
            (header, last),
            "start_ms={ms}"
        );
    }
}

#[test]
fn a_file_of_sound_only() {
    // Once with a header that says so, once with one that promises video.
    for flags in [FLAG_AUDIO, FLAG_AUDIO | FLAG_VIDEO] {
        let mut built = Built::new(flags);
        built.tag(TAG_AUDIO, 0, AAC_HEADER);
        for ms in (0..2_000).step_by(20) {
            built.tag(TAG_AUDIO, ms, &[0xaf, 1, 9, 9]);
        }
        let place = |ms: u32| {
            built.tags[1..]
                .iter()
                .find(|tag| tag.1 == ms)
                .expect("a tag")
                .0
        };
        if flags == FLAG_AUDIO {
            assert_eq!(cut_at(&built.bytes, Seek::Time(1_010)).from, place(1_000));
        }
        assert_eq!(
            cut_at(&built.bytes, Seek::Byte(place(500) - 1)).from,
            place(500)
        );
        let tags = read(&whole(
            &built.bytes,
            &cut_at(&built.bytes, Seek::Byte(place(500))),
        ));
        assert_eq!((&tags[0].body[..], tags[1].timestamp_ms), (AAC_HEADER, 500));
        assert_eq!(search(&built.bytes, Seek::Time(5_000)).0, Outcome::Beyond);
    }
}

#[test]
fn enhanced_tags() {
    let mut built = Built::new(FLAG_VIDEO);
    built.tag(TAG_VIDEO, 0, b"\x90hvc1\x01\x02\x03");
    built.tag(TAG_VIDEO, 0, b"\x91hvc1\0\0\0....");
    built.tag(TAG_VIDEO, 500, b"\xa3hvc1....");
    built.tag(TAG_VIDEO, 1_000, b"\x93hvc1....");
    let cut = cut_at(&built.bytes, Seek::Time(1_000));
    assert_eq!(cut.from, built.tags[3].0);
    assert_eq!(&read(&cut.head)[0].body[..], b"\x90hvc1\x01\x02\x03");
}

/// The head of a packet's second track lies beyond what is read of a tag at first.
#[test]
fn packets_of_several_tracks() {
    let mut packet = b"\x96\x11avc1\x00\x00\x00\x64".to_vec(); // keyframe, multitrack; many tracks, coded frames; track 0 of 100 bytes
    packet.extend_from_slice(&[0; 100]);
    packet.extend_from_slice(b"\x01\x00\x00\x04\0\0\0\x09");
    let mut built = Built::new(FLAG_VIDEO);
    built.tag(TAG_VIDEO, 0, &packet);
    built.tag(TAG_VIDEO, 1_000, &packet);
    assert_eq!(
        cut_at(&built.bytes, Seek::Time(1_000)).from,
        built.tags[1].0
    );
}

#[test]
fn files_that_are_broken() {
    let good = recording(Some(&good_index)).bytes;
    let mut garbage = good.clone();
    let middle = garbage.len() / 2;
    garbage[middle..].fill(0xee);
    for (bytes, why) in [
        (&b""[..], "empty"),
        (&b"FLV"[..], "short"),
        (&b"RIFF0000AVI LIST...."[..], "another format"),
        (
            &b"FLV\x01\x05\xff\xff\xff\xff\0\0\0\0"[..],
            "an absurd header",
        ),
        (&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], "no tags"),
        (
            &b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x12\xff\xff\xff\0\0\0\0\0\0\0"[..],
            "a tag that is larger than the file",
        ),
    ] {
        let outcome = search(bytes, Seek::Time(5_000)).0;
        assert!(
            matches!(outcome, Outcome::Unreadable(_)),
            "{why}: {outcome:?}"
        );
    }
    assert!(matches!(
        search(&garbage, Seek::Time(9_000)).0,
        Outcome::Unreadable(Unreadable::NoTag { .. })
    ));
    // Before the break all is well.
    assert!(matches!(
        search(&garbage, Seek::Time(1_500)).0,
        Outcome::Cut(_)
    ));
    // A recording that a crash cut short plays to its last whole tag.
    let short = &good[..good.len() - 100];
    assert!(matches!(
        search(short, Seek::Time(8_000)).0,
        Outcome::Cut(_)
    ));
}

#[test]
fn questions() {
    for (query, expected) in [
        ("", Ok(None)),
        ("a=1", Ok(None)),
        ("start=0", Ok(None)),
        ("start=123", Ok(Some(Seek::Byte(123)))),
        ("token=x&start_ms=4500", Ok(Some(Seek::Time(4_500)))),
        ("start_ms=1&start=2", Ok(Some(Seek::Byte(2)))),
        ("start=", Err(BadSeek)),
        ("start=-1", Err(BadSeek)),
        ("start=1.5", Err(BadSeek)),
        ("start=99999999999999999999999", Err(BadSeek)),
        ("start_ms=abc", Err(BadSeek)),
    ] {
        assert_eq!(Seek::from_query(query), expected, "{query}");
    }
}

#[test]
fn a_file_on_disk() {
    let built = recording(None);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.flv");
    std::fs::write(&path, &built.bytes).expect("written");
    let file = File::open(&path).expect("the file");
    let size = built.bytes.len() as u64;
    for seek in [
        Seek::Time(7_777),
        Seek::Byte(1_234),
        Seek::Byte(size - 1),
        Seek::Time(99_999),
    ] {
        assert_eq!(
            scan(&file, size, seek).expect("it can be read"),
            search(&built.bytes, seek).0
        );
        // Cut off after it was measured.
        assert!(scan(&file, size * 2, seek).is_ok());
    }
}

proptest! {
    /// Bytes changed anywhere: the search ends, and what it finds is a tag.
    #[test]
    fn any_damage(
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        length in any::<proptest::sample::Index>(),
        wanted in 0_u64..20_000,
        indexed: bool,
    ) {
        let mut bytes = if indexed { recording(Some(&good_index)) } else { recording(None) }.bytes;
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        for seek in [Seek::Time(wanted), Seek::Byte(wanted)] {
            if let (Outcome::Cut(cut), _) = search(&bytes, seek) {
                prop_assert!(cut.from < bytes.len() as u64);
                prop_assert!(is_tag(bytes[cut.from as usize]));
                read(&cut.head);
            }
        }
    }
}
