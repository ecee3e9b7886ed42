//! What a WebSocket client sends, in any pieces: the answers do not depend on the pieces, are frames without a mask, and little is held.
//!
//! Input: a byte of split, then the client's bytes. With the highest bit of the split the rest is not frames but payloads: a byte
//! of FIN and opcode, one of length, the payload. That gets the fuzzer past the mask.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_live::play::fuzzing::{ClientFrames, Heard, MAX_ANSWERS, MAX_CLIENT_FRAME};

/// A frame's header at its longest.
const HEADER: usize = 14;

fn client(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&[first, length], tail)) = rest.split_first_chunk::<2>() {
        let (payload, tail) = tail.split_at(usize::from(length & 0x7f).min(tail.len()));
        rest = tail;
        let mask = [first, length, 3, 4];
        out.push(first);
        if payload.len() < 126 {
            out.push(0x80 | payload.len() as u8);
        } else {
            out.push(0x80 | 126);
            out.extend((payload.len() as u16).to_be_bytes());
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    }
    out
}

/// All answers, and whether it closed; the close is among them.
fn run(bytes: &[u8], step: usize) -> (Vec<u8>, bool) {
    let mut frames = ClientFrames::default();
    let mut answers = Vec::new();
    for piece in bytes.chunks(step) {
        match frames.hear(piece) {
            Heard::Nothing => {}
            Heard::Answer(answer) => {
                check(&answer);
                answers.extend_from_slice(&answer);
            }
            Heard::Close(answer) => {
                check(&answer);
                assert_eq!((answer.len(), answer[0]), (4, 0x88));
                answers.extend_from_slice(&answer);
                return (answers, true);
            }
        }
        assert!(frames.held() <= MAX_CLIENT_FRAME as usize + HEADER);
    }
    (answers, false)
}

/// Whole control frames of a server (RFC 6455 §5.5), not too many.
fn check(mut bytes: &[u8]) {
    let mut count = 0;
    while let [first, length, rest @ ..] = bytes {
        assert!(matches!(first, 0x88 | 0x8a), "{first:02x}");
        assert!(*length <= 125);
        bytes = &rest[usize::from(*length)..];
        count += 1;
    }
    assert!(bytes.is_empty() && count <= MAX_ANSWERS);
}

fuzz_target!(|data: &[u8]| {
    let Some((&split, rest)) = data.split_first() else {
        return;
    };
    let bytes = if split & 0x80 != 0 {
        client(rest)
    } else {
        rest.to_vec()
    };
    let whole = run(&bytes, bytes.len().max(1));
    let pieces = run(&bytes, usize::from(split & 0x7f).max(1));
    // How many pings are too many goes by what comes at once, and so does whether one right before the end is answered.
    let flood = whole.0.ends_with(&1008u16.to_be_bytes());
    if !flood {
        assert_eq!(pieces.1, whole.1);
        let end = |answers: &[u8]| answers[answers.len().saturating_sub(4)..].to_vec();
        match whole.1 {
            true => assert_eq!(end(&pieces.0), end(&whole.0)),
            false => assert_eq!(pieces.0, whole.0),
        }
    }
});
