//! What encryption alone costs: the bytes of one player, sealed in records as a server does, and nothing else.

use std::time::{Duration, Instant};

use pingora_live::media::flv::TAG_VIDEO;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use crate::feed::{Feed, Shape};
use crate::process::Usage;

/// The longest plaintext of a record (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;
/// A record's header (RFC 8446 §5.2), which is authenticated as well.
const RECORD_HEADER: [u8; 5] = [23, 3, 3, 0, 0];
/// An FLV tag's header and PreviousTagSize.
const TAG_EXTRA: usize = 11 + 4;
/// What stands around an HTTP/1.1 chunk of a unit.
const CHUNK_EXTRA: usize = 8;
/// How long it is measured, at least.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Encryption {
    pub(super) cipher: &'static str,
    /// Microseconds of processor time for each second of the stream.
    pub(super) us_per_second: f64,
}

/// Of a stream of `shape` in units of a frame, by the cipher of a TLS suite; nothing for a suite that is not known here.
pub(super) fn cost(suite: &str, shape: Shape) -> Option<Encryption> {
    let (cipher, algorithm): (_, &'static Algorithm) = match suite {
        s if s.contains("AES_128_GCM") => ("AES-128-GCM", &AES_128_GCM),
        s if s.contains("AES_256_GCM") => ("AES-256-GCM", &AES_256_GCM),
        s if s.contains("CHACHA20_POLY1305") => ("ChaCha20-Poly1305", &CHACHA20_POLY1305),
        _ => return None,
    };
    let key = vec![7; algorithm.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?);
    let (records, stream) = records(shape);
    let mut record = Vec::with_capacity(MAX_RECORD + algorithm.tag_len());
    let plain = vec![0x5a; MAX_RECORD];
    let (mut rounds, mut number) = (0u32, 0u64);
    let (begin, before) = (Instant::now(), Usage::own().cpu);
    while begin.elapsed() < LONG_ENOUGH {
        for size in &records {
            let mut nonce = [0; 12];
            nonce.get_mut(4..)?.copy_from_slice(&number.to_be_bytes());
            number += 1;
            record.clear();
            record.extend_from_slice(plain.get(..*size)?);
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(RECORD_HEADER), &mut record)
                .ok()?;
        }
        rounds += 1;
    }
    let took = Usage::own().cpu.saturating_sub(before);
    Some(Encryption {
        cipher,
        us_per_second: took.as_secs_f64() * 1e6 / (f64::from(rounds) * stream.as_secs_f64()),
    })
}

/// The sizes of the records of one GOP, and its length.
fn records(shape: Shape) -> (Vec<usize>, Duration) {
    let mut feed = Feed::made(shape);
    let (mut records, mut unit) = (Vec::new(), 0);
    while feed.due() < shape.gop {
        let tag = feed.next();
        unit += tag.body.len() + TAG_EXTRA;
        if tag.kind == TAG_VIDEO {
            let mut left = unit + CHUNK_EXTRA;
            while left > 0 {
                records.push(left.min(MAX_RECORD));
                left -= left.min(MAX_RECORD);
            }
            unit = 0;
        }
    }
    (records, shape.gop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        bitrate: 1_000_000,
        fps: 25,
        gop: Duration::from_secs(2),
    };

    #[test]
    fn a_gop_is_sealed_in_records_of_its_units() {
        let (records, length) = records(SHAPE);
        let bytes: usize = records.iter().sum();
        assert_eq!(length, SHAPE.gop);
        assert!((240_000..260_000).contains(&bytes), "{bytes}");
        // A frame is a record; a keyframe is two.
        assert!((50..55).contains(&records.len()), "{records:?}");
    }

    #[test]
    fn every_suite_has_its_cost() {
        for suite in [
            "TLS13_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ] {
            assert!(
                cost(suite, SHAPE).is_some_and(|cost| cost.us_per_second > 0.0),
                "{suite}"
            );
        }
        assert!(cost("TLS_RSA_WITH_RC4_128_MD5", SHAPE).is_none());
    }
}
