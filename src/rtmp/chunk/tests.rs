use super::{Decoder, Encoder};
use crate::rtmp::error::ChunkError;
use crate::rtmp::limits::{AHEAD_BYTES, MAX_CHUNK_STREAMS, MAX_MESSAGE_BYTES, MAX_PARTIAL_BYTES};
use crate::rtmp::message::{AUDIO, COMMAND_AMF0, DATA_AMF0, Message, VIDEO};
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

fn decode_all(decoder: &mut Decoder, input: &mut BytesMut) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    while let Some(message) = decoder.decode(input)? {
        messages.push(message);
    }
    Ok(messages)
}

/// Feeds `bytes` in pieces of the given sizes (the last one again and again), through a decoder with `chunk_size`.
fn decode_split(
    bytes: &[u8],
    chunk_size: u32,
    sizes: &[usize],
) -> Result<Vec<Message>, ChunkError> {
    let mut decoder = Decoder::new();
    decoder.set_chunk_size(chunk_size);
    let (mut input, mut messages, mut rest) = (BytesMut::new(), Vec::new(), bytes);
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        input.put_slice(&rest[..size]);
        rest = &rest[size..];
        messages.extend(decode_all(&mut decoder, &mut input)?);
    }
    assert_eq!(decoder.consumed() as usize + input.len(), bytes.len());
    Ok(messages)
}

/// Messages, whole and byte by byte, which must agree.
fn decode(bytes: &[u8], chunk_size: u32) -> Result<Vec<Message>, ChunkError> {
    let whole = decode_split(bytes, chunk_size, &[bytes.len()]);
    assert_eq!(whole, decode_split(bytes, chunk_size, &[1]));
    whole
}

fn message(csid: u32, type_id: u8, stream_id: u32, timestamp: u32, payload: &[u8]) -> Message {
    Message {
        csid,
        type_id,
        stream_id,
        timestamp,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn times(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|message| message.timestamp).collect()
}

#[test]
fn the_four_chunk_types() {
    #[rustfmt::skip]
    let bytes = [
        0x04, 0, 0, 10, 0, 0, 2, VIDEO, 1, 0, 0, 0, b'a', b'b', // type 0: time 10
        0x44, 0, 0, 40, 0, 0, 1, VIDEO, b'c',                   // type 1: +40
        0x84, 0, 0, 20, b'd',                                   // type 2: +20
        0xc4, b'e',                                             // type 3: +20 again
    ];
    let expected = [
        message(4, VIDEO, 1, 10, b"ab"),
        message(4, VIDEO, 1, 50, b"c"),
        message(4, VIDEO, 1, 70, b"d"),
        message(4, VIDEO, 1, 90, b"e"),
    ];
    assert_eq!(decode(&bytes, 128).unwrap(), expected);
}

#[test]
fn type_3_right_after_type_0_repeats_its_time_as_delta() {
    // FFmpeg relies on it: two frames of the same size at 23 and 46 ms.
    let bytes = [0x04, 0, 0, 23, 0, 0, 1, AUDIO, 1, 0, 0, 0, b'a', 0xc4, b'b'];
    assert_eq!(times(&decode(&bytes, 128).unwrap()), [23, 46]);
}

#[test]
fn chunk_stream_ids_of_one_two_and_three_bytes() {
    for (basic, csid) in [
        (&[0x03][..], 3),
        (&[0x3f], 63),
        (&[0x00, 0], 64),
        (&[0x00, 255], 319),
        (&[0x01, 0, 1], 320),
        (&[0x01, 255, 255], 65_599),
        // The long form of a short id is allowed.
        (&[0x01, 3, 0], 67),
    ] {
        let bytes = [basic, &[0, 0, 1, 0, 0, 1, AUDIO, 1, 0, 0, 0, b'x']].concat();
        assert_eq!(
            decode(&bytes, 128).unwrap(),
            [message(csid, AUDIO, 1, 1, b"x")]
        );
        let mut out = BytesMut::new();
        Encoder::new().encode(csid, AUDIO, 1, 1, b"x", &mut out);
        if basic[0] != 1 || csid >= 320 {
            assert_eq!(&out[..], &bytes[..]);
        }
    }
}

#[test]
fn interleaved_messages_do_not_mix() {
    let bytes = [
        &[0x04, 0, 0, 1, 0, 0, 5, VIDEO, 1, 0, 0, 0][..],
        b"vv",
        &[0x06, 0, 0, 2, 0, 0, 3, AUDIO, 1, 0, 0, 0],
        b"aa",
        b"\xc4vv",
        b"\xc6a",
        b"\xc4v",
    ]
    .concat();
    let expected = [
        message(6, AUDIO, 1, 2, b"aaa"),
        message(4, VIDEO, 1, 1, b"vvvvv"),
    ];
    assert_eq!(decode(&bytes, 2).unwrap(), expected);
}

#[test]
fn the_stream_id_is_little_endian() {
    let bytes = [0x03, 0, 0, 0, 0, 0, 0, AUDIO, 1, 2, 3, 4];
    assert_eq!(
        decode(&bytes, 128).unwrap(),
        [message(3, AUDIO, 0x0403_0201, 0, b"")]
    );
}

/// A message of six bytes in chunks of four, with an extended timestamp; `repeat` is what the type 3 chunk repeats.
fn extended(fmt0: bool, field: u32, repeat: Option<u32>, body: &[u8; 6]) -> Vec<u8> {
    let mut bytes = if fmt0 {
        vec![0x04, 0xff, 0xff, 0xff, 0, 0, 6, VIDEO, 1, 0, 0, 0]
    } else {
        vec![0x44, 0xff, 0xff, 0xff, 0, 0, 6, VIDEO]
    };
    bytes.put_u32(field);
    bytes.put_slice(&body[..4]);
    bytes.put_u8(0xc4);
    if let Some(repeat) = repeat {
        bytes.put_u32(repeat);
    }
    bytes.put_slice(&body[4..]);
    bytes
}

#[test]
fn an_extended_timestamp_may_be_repeated_or_not() {
    for repeat in [Some(0x0100_0001), None] {
        // The second message makes sure that a reader that waited for four bytes got in step again.
        let bytes = [
            extended(true, 0x0100_0001, repeat, b"abcdef"),
            extended(true, 0x0100_0002, repeat.map(|t| t + 1), b"ghijkl"),
        ];
        let messages = decode(&bytes.concat(), 4).unwrap();
        let expected = [
            message(4, VIDEO, 1, 0x0100_0001, b"abcdef"),
            message(4, VIDEO, 1, 0x0100_0002, b"ghijkl"),
        ];
        assert_eq!(messages, expected);
    }
}

#[test]
fn an_extended_timestamp_that_starts_like_the_data() {
    // Not repeated, and the data begins with the same two bytes as the field: only what follows can tell.
    let mut bytes = extended(true, 0x0100_0001, None, b"abcd\x01\x00");
    bytes.extend(extended(true, 0x0200_0000, None, b"ghijkl"));
    let messages = decode(&bytes, 4).unwrap();
    assert_eq!(times(&messages), [0x0100_0001, 0x0200_0000]);
    assert_eq!(&messages[0].payload[..], b"abcd\x01\x00");
}

#[test]
fn an_extended_delta_is_added_and_repeated_as_delta_or_as_time() {
    let start = [0x04, 0, 0, 5, 0, 0, 1, VIDEO, 1, 0, 0, 0, b'x'];
    for repeat in [Some(0x0100_0000), Some(0x0100_0005), None] {
        let bytes = [&start[..], &extended(false, 0x0100_0000, repeat, b"abcdef")].concat();
        let messages = decode(&bytes, 4).unwrap();
        assert_eq!(times(&messages), [5, 0x0100_0005]);
        assert_eq!(&messages[1].payload[..], b"abcdef");
    }
}

#[test]
fn a_message_of_type_3_after_an_extended_absolute_time_has_the_same_time() {
    for repeat in [&[1, 0, 0, 0][..], &[]] {
        let start = [
            0x04, 0xff, 0xff, 0xff, 0, 0, 1, AUDIO, 1, 0, 0, 0, 1, 0, 0, 0, b'x',
        ];
        let bytes = [&start[..], &[0xc4], repeat, b"y", &[0x84, 0, 0, 1], b"z"].concat();
        assert_eq!(
            times(&decode(&bytes, 4).unwrap()),
            [0x0100_0000, 0x0100_0000, 0x0100_0001]
        );
    }
}

#[test]
fn timestamps_wrap_at_32_bits() {
    let bytes = [
        &[
            0x04, 0xff, 0xff, 0xff, 0, 0, 1, AUDIO, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xf0, b'x',
        ][..],
        &[0x84, 0, 0, 0x20, b'y'],
        &[0xc4, b'z'],
    ]
    .concat();
    assert_eq!(
        times(&decode(&bytes, 4).unwrap()),
        [0xffff_fff0, 0x10, 0x30]
    );
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new();
    for time in [0xffff_fff0, 0x10, 0x30] {
        encoder.encode(4, AUDIO, 1, time, b"x", &mut out);
    }
    assert_eq!(
        times(&decode(&out, 128).unwrap()),
        [0xffff_fff0, 0x10, 0x30]
    );
}

#[test]
fn a_message_in_one_chunk_is_not_copied() {
    let mut input = BytesMut::new();
    Encoder::new().encode(4, VIDEO, 1, 0, &[7; 100], &mut input);
    let (start, length) = (input.as_ptr() as usize, input.len());
    let message = Decoder::new().decode(&mut input).unwrap().unwrap();
    let place = message.payload.as_ptr() as usize;
    assert!(
        (start..start + length).contains(&place),
        "{place:#x} is not in {start:#x} + {length}"
    );
}

#[test]
fn librtmp_starts_the_control_stream_with_type_1() {
    let bytes = [0x42, 0, 0, 0, 0, 0, 6, 4, 0, 7, 0, 0, 0, 1];
    assert_eq!(
        decode(&bytes, 128).unwrap(),
        [message(2, 4, 0, 0, &[0, 7, 0, 0, 0, 1])]
    );
}

#[test]
fn a_stream_that_starts_without_a_length_is_refused() {
    for fmt in [2, 3] {
        let bytes = [fmt << 6 | 5, 0, 0, 0, 0];
        assert_eq!(
            decode(&bytes, 128),
            Err(ChunkError::NoHeader { csid: 5, fmt })
        );
    }
}

#[test]
fn a_new_header_inside_a_message_is_refused() {
    let bytes = [
        0x04, 0, 0, 0, 0, 0, 3, VIDEO, 1, 0, 0, 0, b'a', b'b', 0x44, 0, 0, 0, 0, 0, 3, VIDEO,
    ];
    assert_eq!(
        decode(&bytes, 2),
        Err(ChunkError::Interrupted {
            csid: 4,
            fmt: 1,
            missing: 1
        })
    );
}

#[test]
fn abort_drops_what_came_and_keeps_the_header() {
    let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
    decoder.set_chunk_size(2);
    input.put_slice(&[0x04, 0, 0, 9, 0, 0, 3, VIDEO, 1, 0, 0, 0, b'a', b'b']);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.partial_bytes(), 2);
    decoder.abort(5);
    assert_eq!(decoder.partial_bytes(), 2);
    decoder.abort(4);
    assert_eq!(decoder.partial_bytes(), 0);
    input.put_slice(b"\x84\0\0\x01xy\xc4z");
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(message(4, VIDEO, 1, 10, b"xyz")))
    );
}

#[test]
fn messages_over_the_limit_of_their_type_are_refused_by_their_header() {
    for (type_id, max) in [
        (VIDEO, 8 << 20),
        (AUDIO, 8 << 20),
        (DATA_AMF0, 1 << 20),
        (COMMAND_AMF0, 64 << 10),
        (1, 128),
    ] {
        for (length, fits) in [(max, true), (max + 1, false)] {
            let mut input = BytesMut::from(&[0x04, 0, 0, 0][..]);
            input.put_uint(length as u64, 3);
            input.put_slice(&[type_id, 1, 0, 0, 0]);
            let result = Decoder::new().decode(&mut input);
            let refusal = ChunkError::MessageTooLarge {
                type_id,
                length,
                max,
            };
            assert_eq!(result, if fits { Ok(None) } else { Err(refusal) });
        }
    }
}

#[test]
fn declared_lengths_reserve_a_bounded_room_together() {
    let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
    for csid in 3..60 {
        input.put_slice(&[csid, 0, 0, 0, 0x7f, 0xff, 0xff, VIDEO, 1, 0, 0, 0]);
        input.put_slice(&[0; 128]);
    }
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(decoder.partial_bytes(), 57 * 128);
    assert!(
        decoder.partial_capacity() <= AHEAD_BYTES + 2 * 56 * 128,
        "{}",
        decoder.partial_capacity()
    );
}

#[test]
fn unfinished_messages_are_bounded_together() {
    let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
    let chunk = 1 << 20;
    decoder.set_chunk_size(chunk);
    for csid in 3.. {
        input.put_slice(&[csid, 0, 0, 0, 0x7f, 0xff, 0xff, VIDEO, 1, 0, 0, 0]);
        input.resize(input.len() + chunk as usize, 0);
        match decoder.decode(&mut input) {
            Ok(None) => assert!(decoder.partial_bytes() <= MAX_PARTIAL_BYTES),
            result => {
                assert_eq!(
                    result,
                    Err(ChunkError::TooMuchPartial { csid: csid.into() })
                );
                assert_eq!(usize::from(csid) - 3, MAX_PARTIAL_BYTES >> 20);
                return;
            }
        }
    }
}

#[test]
fn chunk_streams_are_bounded() {
    let (mut decoder, mut input) = (Decoder::new(), BytesMut::new());
    for csid in 64..=65_599_u32 {
        input.put_u8(1);
        input.put_u16_le((csid - 64) as u16);
        input.put_slice(&[0, 0, 0, 0, 1, 0, VIDEO, 1, 0, 0, 0]);
        input.resize(input.len() + 128, 0);
        match decoder.decode(&mut input) {
            Ok(None) => {}
            result => {
                assert_eq!(result, Err(ChunkError::TooManyChunkStreams { csid }));
                assert_eq!(csid as usize, 64 + MAX_CHUNK_STREAMS);
                assert!(decoder.partial_capacity() <= 256 + 2 * 128 * (MAX_CHUNK_STREAMS - 1));
                return;
            }
        }
    }
    panic!("all were accepted");
}

#[test]
fn a_large_message_byte_by_byte_is_not_quadratic() {
    // In chunks of one byte and in one chunk: if a byte cost as much as what came before it, this would take an hour.
    let length = MAX_MESSAGE_BYTES / 8;
    for chunk_size in [1, 0x7fff_ffff] {
        let mut bytes = BytesMut::new();
        let mut encoder = Encoder::new();
        encoder.set_chunk_size(chunk_size);
        encoder.encode(4, VIDEO, 1, 0, &vec![5; length], &mut bytes);
        let messages = decode_split(&bytes, chunk_size, &[1]).unwrap();
        assert_eq!(
            messages
                .iter()
                .map(|message| message.payload.len())
                .collect::<Vec<_>>(),
            [length]
        );
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let csid = prop_oneof![
        2..9_u32,
        Just(63),
        Just(64),
        Just(319),
        Just(320),
        Just(65_599)
    ];
    let time = prop_oneof![
        0..2000_u32,
        Just(0xff_fffe),
        Just(0xff_ffff),
        Just(0x100_0000),
        0xffff_fff0..=u32::MAX,
        any::<u32>(),
    ];
    let type_id = prop::sample::select(vec![AUDIO, VIDEO, DATA_AMF0, COMMAND_AMF0]);
    (
        csid,
        type_id,
        0..3_u32,
        time,
        prop::collection::vec(any::<u8>(), 0..600),
    )
        .prop_map(|(csid, type_id, stream_id, timestamp, payload)| Message {
            csid,
            type_id,
            stream_id,
            timestamp,
            payload: payload.into(),
        })
}

/// Regular messages, which make the encoder use type 2 and 3.
fn any_run() -> impl Strategy<Value = Vec<Message>> {
    (any_message(), 0..100_u32, 1..8_u32).prop_map(|(first, delta, count)| {
        (0..count)
            .map(|index| Message {
                timestamp: first.timestamp.wrapping_add(index * delta),
                ..first.clone()
            })
            .collect()
    })
}

/// A message as its chunks: a full header first, type 3 after it, with or without the extended timestamp repeated.
fn chunks(message: &Message, chunk_size: usize, repeat: bool) -> Vec<Vec<u8>> {
    let mut pieces = message.payload.chunks(chunk_size);
    let mut first = vec![message.csid as u8];
    first.put_uint(message.timestamp.min(0xff_ffff).into(), 3);
    first.put_uint(message.payload.len() as u64, 3);
    first.put_u8(message.type_id);
    first.put_u32_le(message.stream_id);
    let extended = message.timestamp >= 0xff_ffff;
    if extended {
        first.put_u32(message.timestamp);
    }
    first.put_slice(pieces.next().unwrap_or_default());
    let rest = pieces.map(|piece| {
        let mut chunk = vec![0xc0 | message.csid as u8];
        if extended && repeat {
            chunk.put_u32(message.timestamp);
        }
        chunk.put_slice(piece);
        chunk
    });
    std::iter::once(first).chain(rest).collect()
}

proptest! {
    #[test]
    fn round_trip(
        runs in prop::collection::vec(any_run(), 1..8),
        chunk_size in prop_oneof![1..300_u32, Just(60_000)],
        splits in prop::collection::vec(1..200_usize, 1..10),
    ) {
        let messages = runs.concat();
        let (mut encoder, mut bytes) = (Encoder::new(), BytesMut::new());
        encoder.set_chunk_size(chunk_size);
        for message in &messages {
            let Message { csid, type_id, stream_id, timestamp, payload } = message;
            encoder.encode(*csid, *type_id, *stream_id, *timestamp, payload, &mut bytes);
        }
        prop_assert_eq!(&decode(&bytes, chunk_size).unwrap(), &messages);
        prop_assert_eq!(decode_split(&bytes, chunk_size, &splits).unwrap(), messages);
    }

    #[test]
    fn interleaved_round_trip(
        lanes in prop::collection::vec(prop::collection::vec(any_message(), 1..4), 1..5),
        chunk_size in 1..200_usize,
        order in prop::collection::vec(any::<prop::sample::Index>(), 400),
        repeat in any::<bool>(),
        splits in prop::collection::vec(1..200_usize, 1..10),
    ) {
        // One chunk stream a lane; chunks are taken from the front of the lane that `order` says.
        let lanes: Vec<Vec<Message>> = (3..)
            .zip(lanes)
            .map(|(csid, lane)| lane.into_iter().map(|message| Message { csid, ..message }).collect())
            .collect();
        let mut queues: Vec<std::collections::VecDeque<Vec<u8>>> = lanes
            .iter()
            .map(|lane| lane.iter().flat_map(|message| chunks(message, chunk_size, repeat)).collect())
            .collect();
        let (mut bytes, mut order) = (Vec::new(), order.iter().cycle());
        while queues.iter().any(|queue| !queue.is_empty()) {
            let queue = order.next().unwrap().index(queues.len());
            bytes.extend(queues[queue].pop_front().unwrap_or_default());
        }
        // Whether the last bytes of a chunk are data or the beginning of a repeated timestamp shows with what follows them.
        let last = Message { csid: 2, type_id: AUDIO, stream_id: 0, timestamp: 0, payload: Bytes::from_static(b"last") };
        bytes.extend(chunks(&last, chunk_size, repeat).concat());
        let decoded = decode(&bytes, chunk_size as u32).unwrap();
        prop_assert_eq!(&decode_split(&bytes, chunk_size as u32, &splits).unwrap(), &decoded);
        for (csid, lane) in (3..).zip(lanes) {
            let of_lane: Vec<Message> = decoded.iter().filter(|message| message.csid == csid).cloned().collect();
            prop_assert_eq!(of_lane, lane);
        }
    }

    #[test]
    fn any_bytes_are_chunks_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), chunk_size in 1..300_u32) {
        let _ = decode(&bytes, chunk_size);
    }
}
