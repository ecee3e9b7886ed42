//! The least that encryption can cost: a stream's units, each sealed once for every session of TLS, and nothing else.
//!
//! A server with a thousand players has a thousand sessions, each with a key, a sequence number and queues of its own, which the caches
//! have forgotten since the last unit: to touch them is a part of what encryption costs. So a thousand sessions are made here, by
//! handshakes in memory, and each unit is sealed for one after the other when it is due, by rustls, as every server that uses it has to.
//! What comes out is thrown away. There are no sockets, no players, and nothing around a unit but its records.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pingora_live::media::flv::TAG_VIDEO;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use serde::Serialize;

use crate::feed::Feed;
use crate::process::thread_cpu;
use crate::progress::Progress;
use crate::{Failure, tls};

/// The longest plaintext of a record (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;
/// A record's header (RFC 8446 §5.2), which is authenticated as well.
const RECORD_HEADER: [u8; 5] = [23, 3, 3, 0, 0];
/// An FLV tag's header and PreviousTagSize.
const TAG_EXTRA: usize = 11 + 4;
/// What stands around an HTTP/1.1 chunk of a unit.
const CHUNK_EXTRA: usize = 8;
/// Messages from side to side in a handshake: three at most, with tickets and a retry.
const MAX_TURNS: usize = 10;
/// How long a cipher is measured on its own, at least.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// What is sealed.
pub(crate) struct Plan {
    pub(crate) feed: Feed,
    /// As `mw_latency`.
    pub(crate) merge: Duration,
    pub(crate) sessions: usize,
    /// Of the stream.
    pub(crate) duration: Duration,
    /// As IANA names it; nothing: what rustls prefers.
    pub(crate) suite: Option<String>,
}

/// What it cost.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) sessions: u64,
    /// As IANA names it.
    pub(crate) suite: String,
    /// Of the stream, sealed for each.
    pub(crate) seconds: f64,
    /// Plain, for all.
    pub(crate) bytes: u64,
    /// Microseconds of processor time for each session in a second of the stream.
    pub(crate) cpu_us_per_client: f64,
    /// Seconds of processor time for each 10^9 bytes.
    pub(crate) cpu_s_per_gb: f64,
    /// What the cipher alone takes for the same records with one key that stays in the caches, in the same unit: left out where the suite
    /// is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hot_cipher_us_per_client: Option<f64>,
}

/// One unit: when it is due, and its bytes.
type Unit = (Duration, usize);

/// Seals. Blocks until the end.
pub(crate) fn run(plan: &Plan, progress: &mut Progress) -> Result<Report, Failure> {
    let units = units(&plan.feed, plan.merge, plan.duration);
    progress.tell(&format!("{} handshakes", plan.sessions));
    let mut sessions = sessions(plan.sessions, plan.suite.as_deref())?;
    let suite = sessions
        .first()
        .and_then(|session| session.negotiated_cipher_suite())
        .and_then(|suite| suite.suite().as_str().map(str::to_owned))
        .unwrap_or_default();
    let longest = units.iter().map(|(_, size)| *size).max().unwrap_or(0);
    let plain = vec![0x5a; longest];
    // The first unit finds buffers that were never used: it is no part of what is measured.
    for session in &mut sessions {
        seal(session, &plain)?;
    }
    let start = Instant::now();
    let (mut bytes, mut cpu) = (0, Duration::ZERO);
    for (due, size) in &units {
        thread::sleep(due.saturating_sub(start.elapsed()));
        let unit = plain.get(..*size).unwrap_or_default();
        let before = thread_cpu();
        for session in &mut sessions {
            bytes += seal(session, unit)?;
        }
        cpu += thread_cpu().saturating_sub(before);
        progress.tell(&format!(
            "sealing: {:.1} s of the stream",
            due.as_secs_f64()
        ));
    }
    progress.clear();
    let seconds = plan.duration.as_secs_f64();
    let each = plan.sessions.max(1) as f64;
    Ok(Report {
        tool: "floor",
        sessions: plan.sessions as u64,
        hot_cipher_us_per_client: hot_cipher(&suite, &units, plan.duration),
        suite,
        seconds,
        bytes,
        cpu_us_per_client: cpu.as_secs_f64() * 1e6 / seconds / each,
        cpu_s_per_gb: cpu.as_secs_f64() / (bytes.max(1) as f64 / 1e9),
    })
}

/// The units that are due in `duration`, as they are framed for HTTP/1.1.
fn units(feed: &Feed, merge: Duration, duration: Duration) -> Vec<Unit> {
    let mut feed = feed.clone();
    let (mut units, mut unit, mut begun): (Vec<Unit>, usize, Option<Duration>) =
        (Vec::new(), 0, None);
    while feed.due() < duration {
        let tag = feed.next();
        unit += tag.body.len() + TAG_EXTRA;
        let whole = match merge.is_zero() {
            true => tag.kind == TAG_VIDEO,
            false => tag.due.saturating_sub(*begun.get_or_insert(tag.due)) >= merge,
        };
        if whole {
            units.push((tag.due, unit + CHUNK_EXTRA));
            (unit, begun) = (0, None);
        }
    }
    units
}

/// Server's sides of sessions whose handshakes are done.
fn sessions(count: usize, suite: Option<&str>) -> Result<Vec<ServerConnection>, Failure> {
    let mut provider = provider::default_provider();
    if let Some(name) = suite {
        let named = |suite: &rustls::SupportedCipherSuite| suite.suite().as_str() == Some(name);
        provider.cipher_suites.retain(named);
    }
    // Nobody looks at the certificate: what clients check is how they measure, too.
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.as_ref()));
    let key = CertifiedKey::new(
        vec![CertificateDer::from(vec![0; 32])],
        provider::sign::any_supported_type(&key)?,
    );
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    let (server, client) = (Arc::new(config), tls::config(false, false)?);
    let name = ServerName::try_from("localhost")
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    (0..count)
        .map(|_| {
            let mut session = ServerConnection::new(Arc::clone(&server))?;
            let mut peer = ClientConnection::new(Arc::clone(&client), name.clone())?;
            shake_hands(&mut session, &mut peer)?;
            Ok(session)
        })
        .collect()
}

fn shake_hands(
    server: &mut ServerConnection,
    client: &mut ClientConnection,
) -> Result<(), Failure> {
    for _ in 0..MAX_TURNS {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up).map_err(memory)?;
        }
        let mut came = up.as_slice();
        while !came.is_empty() {
            server.read_tls(&mut came).map_err(memory)?;
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut down).map_err(memory)?;
        }
        let mut came = down.as_slice();
        while !came.is_empty() {
            client.read_tls(&mut came).map_err(memory)?;
            client.process_new_packets()?;
        }
        if up.is_empty() && down.is_empty() {
            break;
        }
    }
    match server.is_handshaking() || client.is_handshaking() {
        true => Err(rustls::Error::HandshakeNotComplete.into()),
        false => Ok(()),
    }
}

/// Reading and writing in memory does not fail; what does is the session.
fn memory(error: io::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// One unit into records, which go nowhere. Returns its bytes.
fn seal(session: &mut ServerConnection, unit: &[u8]) -> Result<u64, Failure> {
    let mut rest = unit;
    while !rest.is_empty() {
        // What it takes at once is bounded.
        let taken = session.writer().write(rest).map_err(memory)?;
        rest = rest.get(taken..).unwrap_or_default();
        while session.wants_write() {
            session.write_tls(&mut io::sink()).map_err(memory)?;
        }
    }
    Ok(unit.len() as u64)
}

/// The cipher of a suite with one key, over and over: the part of it that no cache can spare. Nothing for a suite that is not known here.
fn hot_cipher(suite: &str, units: &[Unit], length: Duration) -> Option<f64> {
    let algorithm: &'static Algorithm = match suite {
        s if s.contains("AES_128_GCM") => &AES_128_GCM,
        s if s.contains("AES_256_GCM") => &AES_256_GCM,
        s if s.contains("CHACHA20_POLY1305") => &CHACHA20_POLY1305,
        _ => return None,
    };
    let key = vec![7; algorithm.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?);
    let records: Vec<usize> = units.iter().flat_map(|(_, size)| records(*size)).collect();
    let mut record = Vec::with_capacity(MAX_RECORD + algorithm.tag_len());
    let plain = vec![0x5a; MAX_RECORD];
    let (mut rounds, mut number) = (0u32, 0u64);
    let (begin, before) = (Instant::now(), thread_cpu());
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
    let took = thread_cpu().saturating_sub(before);
    Some(took.as_secs_f64() * 1e6 / (f64::from(rounds) * length.as_secs_f64()))
}

/// The records of so many bytes.
fn records(mut left: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = left.min(MAX_RECORD);
        left -= size;
        (size > 0).then_some(size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Shape;

    const SHAPE: Shape = Shape {
        bitrate: 1_000_000,
        fps: 25,
        gop: Duration::from_secs(2),
    };

    #[test]
    fn units_are_those_of_the_stream() {
        let length = Duration::from_secs(2);
        let each = units(&Feed::made(SHAPE), Duration::ZERO, length);
        // A unit for each frame, and for the headers.
        assert!((50..53).contains(&each.len()), "{each:?}");
        let merged = units(&Feed::made(SHAPE), Duration::from_millis(350), length);
        assert!((4..7).contains(&merged.len()), "{merged:?}");
        for units in [each, merged] {
            let bytes: usize = units.iter().map(|(_, size)| size).sum();
            assert!((200_000..260_000).contains(&bytes), "{bytes}");
            assert!(units.is_sorted(), "{units:?}");
        }
        assert_eq!(records(40_000).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
    }

    #[test]
    fn each_session_seals_each_unit_with_a_key_of_its_own() {
        let mut sessions = sessions(2, None).unwrap();
        let mut sealed = sessions.iter_mut().map(|session| {
            session.writer().write_all(b"the same").unwrap();
            let mut record = Vec::new();
            session.write_tls(&mut record).unwrap();
            record
        });
        let (first, second) = (sealed.next().unwrap(), sealed.next().unwrap());
        assert_eq!(first.len(), second.len());
        assert_ne!(first, second);
    }

    #[test]
    fn every_suite_has_its_cost() {
        for suite in [
            "TLS13_AES_256_GCM_SHA384",
            "TLS13_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ] {
            let plan = Plan {
                feed: Feed::made(SHAPE),
                merge: Duration::ZERO,
                sessions: 3,
                duration: Duration::from_millis(200),
                suite: Some(suite.to_owned()),
            };
            let report = run(&plan, &mut Progress::new(true)).unwrap();
            assert_eq!(report.suite, suite);
            // A keyframe and four others.
            assert!(
                (3 * 40_000..3 * 50_000).contains(&report.bytes),
                "{report:?}"
            );
            assert!(report.cpu_us_per_client > 0.0, "{report:?}");
            assert!(report.hot_cipher_us_per_client > Some(0.0), "{report:?}");
        }
        assert!(sessions(1, Some("TLS_RSA_WITH_RC4_128_MD5")).is_err());
        assert!(hot_cipher("TLS_RSA_WITH_RC4_128_MD5", &[], Duration::ZERO).is_none());
    }
}
