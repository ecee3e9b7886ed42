use super::*;
use crate::media::fixtures::hex;
use proptest::prelude::*;

/// A file of three tags: script data at 0, video at 0x12345678, audio without a body at 5.
const FILE: &str = "464c56 01 05 00000009 00000000 \
    12 000003 000000 00 000000 020000 0000000e \
    09 000002 345678 12 000000 1701 0000000d \
    08 000000 000005 00 000000 0000000b";

fn tag(kind: u8, timestamp_ms: u32, body: &str) -> FlvTag {
    FlvTag {
        kind,
        timestamp_ms,
        body: hex(body),
    }
}

fn expected() -> Vec<FlvTag> {
    vec![
        tag(18, 0, "020000"),
        tag(9, 0x1234_5678, "1701"),
        tag(8, 5, ""),
    ]
}

fn read_all(reader: &mut FlvReader) -> Result<Vec<FlvTag>, FlvError> {
    let mut tags = Vec::new();
    while let Some(tag) = reader.poll()? {
        tags.push(tag);
    }
    Ok(tags)
}

fn read(digits: &str) -> Result<Vec<FlvTag>, FlvError> {
    let mut reader = FlvReader::new();
    reader.feed(&hex(digits));
    read_all(&mut reader)
}

#[test]
fn whole() {
    let mut reader = FlvReader::new();
    reader.feed(&hex(FILE));
    assert_eq!(read_all(&mut reader).unwrap(), expected());
    assert_eq!(
        reader.header(),
        Some(FlvHeader {
            audio: true,
            video: true
        })
    );
    assert_eq!(
        (reader.mismatches(), reader.offset()),
        (0, hex(FILE).len() as u64)
    );
    assert!(reader.is_between_tags());
}

#[test]
fn byte_by_byte() {
    let mut reader = FlvReader::new();
    let mut tags = Vec::new();
    for byte in hex(FILE) {
        assert_eq!(reader.header().is_none(), reader.offset() < 9);
        reader.feed(&[byte]);
        tags.extend(read_all(&mut reader).unwrap());
    }
    assert_eq!(tags, expected());
}

#[test]
fn cut_off_inside_a_tag() {
    let file = hex(FILE);
    let mut reader = FlvReader::new();
    reader.feed(&file[..file.len() - 6]);
    assert_eq!(read_all(&mut reader).unwrap().len(), 2);
    assert!(!reader.is_between_tags());
    // Only the last PreviousTagSize is missing: that is how many live recordings end.
    let mut reader = FlvReader::new();
    reader.feed(&file[..file.len() - 4]);
    assert_eq!(read_all(&mut reader).unwrap().len(), 3);
    assert!(reader.is_between_tags());
}

#[test]
fn wrong_previous_tag_sizes_are_counted_only() {
    let mut reader = FlvReader::new();
    reader.feed(&hex(&FILE
        .replace("0000000e", "00000000")
        .replace("0000000d", "ffffffff")));
    assert_eq!(read_all(&mut reader).unwrap(), expected());
    assert_eq!(reader.mismatches(), 2);
}

#[test]
fn longer_header_stream_id_and_unknown_tag_types_are_tolerated() {
    let file = "464c56 02 00 0000000c aabbcc 00000000 0f 000001 000000 00 000007 aa 0000000c";
    assert_eq!(read(file).unwrap(), [tag(15, 0, "aa")]);
}

#[test]
fn errors_say_where_and_what_and_stay() {
    for (file, error) in [
        ("474554202f20485454", FlvError::Signature { found: *b"GET" }),
        ("464c56 01 05 00000008", FlvError::DataOffset { value: 8 }),
        (
            "464c56 01 05 7fffffff",
            FlvError::DataOffset { value: 0x7fff_ffff },
        ),
        (
            "464c56 01 05 00000009 00000000 28 000001 000000 00 000000",
            FlvError::Encrypted { offset: 13 },
        ),
    ] {
        let mut reader = FlvReader::new();
        reader.feed(&hex(file));
        assert_eq!(reader.poll(), Err(error));
        reader.feed(&hex(FILE));
        assert_eq!(reader.poll(), Err(error));
    }
    let mut reader = FlvReader::with_max_body(2);
    reader.feed(&hex(FILE));
    assert_eq!(
        reader.poll(),
        Err(FlvError::TagTooLarge {
            offset: 13,
            size: 3,
            max: 2
        })
    );
}

#[test]
fn a_declared_size_reserves_nothing() {
    let mut reader = FlvReader::new();
    reader.feed(&hex(
        "464c56 01 05 00000009 00000000 09 ffffff 000000 00 000000 00",
    ));
    assert_eq!(reader.poll(), Ok(None));
    assert!(reader.buffer.capacity() < 1000);
}

proptest! {
    #[test]
    fn at_any_splits(splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let file = hex(FILE);
        let mut splits: Vec<_> = splits.into_iter().map(|at| at.index(file.len())).collect();
        splits.sort_unstable();
        splits.push(file.len());
        let mut reader = FlvReader::new();
        let mut tags = Vec::new();
        let mut from = 0;
        for to in splits {
            reader.feed(&file[from..to]);
            tags.extend(read_all(&mut reader).unwrap());
            from = to;
        }
        prop_assert_eq!(tags, expected());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..500), header: bool) {
        let mut reader = FlvReader::with_max_body(300);
        if header {
            reader.feed(&hex("464c56 01 05 00000009 00000000"));
        }
        reader.feed(&bytes);
        let mut tags = 0;
        while let Ok(Some(_)) = reader.poll() {
            tags += 1;
        }
        prop_assert!(tags <= bytes.len() / TAG_HEADER_SIZE);
    }
}
