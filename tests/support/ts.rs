//! A small reader of transport streams, as an oracle that knows nothing of the crate under test: ISO/IEC 13818-1 §2.4.

use std::collections::HashMap;

use super::elementary::{self, Unit};

pub const PACKET: usize = 188;

/// Stream types of ISO/IEC 13818-1 table 2-34, and of ATSC A/52 for AC-3.
pub const MPEG1_AUDIO: u8 = 0x03;
pub const PRIVATE: u8 = 0x06;
pub const AAC: u8 = 0x0f;
pub const H264: u8 = 0x1b;
pub const HEVC: u8 = 0x24;
pub const AC3: u8 = 0x81;

/// Timestamps have 33 bits.
pub const CIRCLE: u64 = 1 << 33;

/// In the units of timestamps.
pub const SECOND: i64 = 90_000;

/// The longest step of a track's time where nothing is missing.
pub const STEP: i64 = SECOND / 4;

/// One program map, where it differs from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Which packet it stands in.
    pub at: usize,
    pub version: u8,
    pub clock_pid: u16,
    /// Stream type and PID.
    pub streams: Vec<(u8, u16)>,
}

/// A whole PES packet.
#[derive(Clone, Debug)]
pub struct Pes {
    /// In which packet it begins.
    pub at: usize,
    pub pid: u16,
    pub random_access: bool,
    pub pts: u64,
    pub dts: u64,
    pub payload: Vec<u8>,
}

/// What a stream holds.
#[derive(Clone, Debug, Default)]
pub struct Ts {
    /// The PID of each packet.
    pub pids: Vec<u16>,
    /// The maps, each where it changed.
    pub maps: Vec<Map>,
    /// The packets with a PAT.
    pub tables: Vec<usize>,
    /// Whole PES packets in their order. The last of each PID is left out: only the next one tells where it ends.
    pub pes: Vec<Pes>,
    /// Clock references: the packet and the base in 1/90,000 s.
    pub clock: Vec<(usize, u64)>,
    /// Packets whose continuity counter is not the next of its PID.
    pub gaps: Vec<usize>,
}

#[derive(Default)]
struct Pid {
    counter: Option<u8>,
    open: Option<(usize, bool, Vec<u8>)>,
}

impl Ts {
    /// Reads whole packets; all that a reader may rely on is checked.
    pub fn read(bytes: &[u8]) -> Result<Ts, String> {
        if !bytes.len().is_multiple_of(PACKET) {
            return Err(format!("{} bytes are not whole packets", bytes.len()));
        }
        let mut ts = Ts::default();
        let mut pids: HashMap<u16, Pid> = HashMap::new();
        let mut map_pid = None;
        for (at, packet) in bytes.chunks_exact(PACKET).enumerate() {
            let fault = |what: &str| format!("packet {at}: {what}: {:02x?}", &packet[..16]);
            if packet[0] != 0x47 {
                return Err(fault("no sync byte"));
            }
            if packet[1] & 0x80 != 0 || packet[3] & 0xc0 != 0 {
                return Err(fault("an error, or scrambled"));
            }
            let start = packet[1] & 0x40 != 0;
            let number = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
            let mut body = 4;
            let mut random_access = false;
            if has_field {
                let length = usize::from(packet[4]);
                if length > 183 || (has_payload && length > 182) || (!has_payload && length != 183)
                {
                    return Err(fault("an adaptation field of a wrong length"));
                }
                body = 5 + length;
                if length > 0 {
                    random_access = packet[5] & 0x40 != 0;
                    if packet[5] & 0x10 != 0 {
                        let base = packet[6..10]
                            .iter()
                            .fold(0u64, |all, byte| all << 8 | u64::from(*byte));
                        ts.clock.push((at, base << 1 | u64::from(packet[10] >> 7)));
                    }
                }
            }
            ts.pids.push(number);
            let counter = packet[3] & 0x0f;
            let pid = pids.entry(number).or_default();
            // 2.4.3.3: counts packets with payload.
            let expected = pid
                .counter
                .map(|last| if has_payload { (last + 1) & 0x0f } else { last });
            let continuous = expected.is_none_or(|expected| expected == counter);
            pid.counter = Some(counter);
            if !continuous {
                ts.gaps.push(at);
                pid.open = None;
            }
            if !has_payload {
                continue;
            }
            let payload = &packet[body..];
            if number == 0 || Some(number) == map_pid {
                let section = section(payload).ok_or_else(|| fault("a broken section"))?;
                if number == 0 {
                    if section[0] != 0 || section.len() != 16 {
                        return Err(fault("no PAT of one program"));
                    }
                    map_pid = Some(u16::from_be_bytes([section[10] & 0x1f, section[11]]));
                    ts.tables.push(at);
                } else {
                    let map = read_map(section, at).ok_or_else(|| fault("a broken PMT"))?;
                    let same = ts.maps.last().is_some_and(|last| {
                        (last.version, last.clock_pid, &last.streams)
                            == (map.version, map.clock_pid, &map.streams)
                    });
                    if !same {
                        ts.maps.push(map);
                    }
                }
                continue;
            }
            if start {
                if let Some((at, random_access, bytes)) = pid.open.take() {
                    let pes = read_pes(at, number, random_access, &bytes)
                        .map_err(|what| format!("PES in packet {at}, PID {number:#x}: {what}"))?;
                    ts.pes.push(pes);
                }
                pid.open = Some((at, random_access, payload.to_vec()));
            } else if let Some((_, _, bytes)) = pid.open.as_mut() {
                bytes.extend_from_slice(payload);
            }
        }
        Ok(ts)
    }

    /// The PID of the first stream of a type in the newest map.
    #[track_caller]
    pub fn pid_of(&self, stream_type: u8) -> u16 {
        let map = self.maps.last().expect("a map");
        let found = map.streams.iter().find(|(kind, _)| *kind == stream_type);
        found
            .unwrap_or_else(|| panic!("no stream of type {stream_type:#x} in {map:?}"))
            .1
    }

    /// The PES packets of a PID.
    pub fn of(&self, pid: u16) -> Vec<&Pes> {
        self.pes.iter().filter(|pes| pes.pid == pid).collect()
    }
}

/// The section at the beginning of a payload, without its CRC, when it is whole and right (2.4.4).
fn section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = usize::from(u16::from_be_bytes([
        section.get(1)? & 0x0f,
        *section.get(2)?,
    ]));
    let whole = section.get(..3 + length)?;
    // Annex A: over the section with its CRC, the remainder is 0.
    let mut remainder = u32::MAX;
    for byte in whole {
        remainder ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            let carry = remainder >> 31 == 1;
            remainder <<= 1;
            if carry {
                remainder ^= 0x04c1_1db7;
            }
        }
    }
    // A PAT of one program has 12 bytes and the CRC.
    (remainder == 0).then_some(whole)
}

fn read_map(section: &[u8], at: usize) -> Option<Map> {
    if section[0] != 2 {
        return None;
    }
    let end = section.len() - 4;
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *section.get(at)?,
            *section.get(at + 1)?,
        ]))
    };
    let mut next = 12 + usize::from(word(10)? & 0x0fff);
    let mut streams = Vec::new();
    while next < end {
        streams.push((section[next], word(next + 1)? & 0x1fff));
        next += 5 + usize::from(word(next + 3)? & 0x0fff);
    }
    (next == end).then_some(Map {
        at,
        version: section[5] >> 1 & 0x1f,
        clock_pid: word(8)? & 0x1fff,
        streams,
    })
}

fn read_pes(at: usize, pid: u16, random_access: bool, bytes: &[u8]) -> Result<Pes, String> {
    let head = bytes.get(..9).ok_or("no header")?;
    if head[..3] != [0, 0, 1] || head[6] >> 6 != 2 {
        return Err(format!("not a PES header: {head:02x?}"));
    }
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if length != 0 && length + 6 != bytes.len() {
        return Err(format!(
            "it says {length} bytes and has {}",
            bytes.len() - 6
        ));
    }
    let fields = bytes.get(9..9 + usize::from(head[8])).ok_or("no fields")?;
    let time = |at: usize, which: u8| -> Result<u64, String> {
        let field = fields.get(at..at + 5).ok_or("no timestamp")?;
        if field[0] >> 4 != which || field[0] & field[2] & field[4] & 1 != 1 {
            return Err(format!("not a timestamp: {field:02x?}"));
        }
        let bits = |byte: u8, shift: u32| u64::from(byte) << shift;
        Ok(bits(field[0] >> 1 & 7, 30)
            | bits(field[1], 22)
            | bits(field[2] >> 1, 15)
            | bits(field[3], 7)
            | bits(field[4] >> 1, 0))
    };
    let (pts, dts) = match head[7] >> 6 {
        2 => {
            let pts = time(0, 2)?;
            (pts, pts)
        }
        3 => (time(0, 3)?, time(5, 1)?),
        flags => return Err(format!("PTS_DTS_flags {flags}")),
    };
    Ok(Pes {
        at,
        pid,
        random_access,
        pts,
        dts,
        payload: bytes[9 + fields.len()..].to_vec(),
    })
}

/// How far `to` lies after `from` on the circle of 33 bits, in 1/90,000 s; negative before it.
pub fn distance(from: u64, to: u64) -> i64 {
    let ahead = to.wrapping_sub(from) % CIRCLE;
    let ahead = i64::try_from(ahead).expect("33 bits");
    if ahead >= 1 << 32 {
        ahead - (1 << 33)
    } else {
        ahead
    }
}

/// What holds in each part of a transport stream that one player was given, if no time is missing beyond `leap`.
#[track_caller]
pub fn check(bytes: &[u8], leap: i64) -> Ts {
    let ts = Ts::read(bytes).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(ts.gaps, [0usize; 0], "continuity counters");
    check_times(&ts, leap);
    let video = ts
        .maps
        .iter()
        .flat_map(|map| &map.streams)
        .find(|(kind, _)| matches!(*kind, H264 | HEVC));
    if let Some((_, pid)) = video {
        assert_eq!(ts.tables.first(), Some(&0), "begins with a PAT");
        let first = ts.of(*pid)[0];
        assert!(first.random_access, "the first picture is a keyframe");
        for key in ts.of(*pid).into_iter().filter(|pes| pes.random_access) {
            assert!(
                ts.tables.contains(&(key.at - 2)),
                "PAT and PMT right before the keyframe in packet {}",
                key.at
            );
        }
    }
    ts
}

/// The PMT follows each PAT, and no time goes back or leaps.
#[track_caller]
pub fn check_times(ts: &Ts, leap: i64) {
    let map_at = ts.maps.first().expect("a PMT").at;
    let map_pid = ts.pids[map_at];
    for table in ts.tables.iter().filter(|table| **table + 1 < ts.pids.len()) {
        assert_eq!(
            ts.pids[table + 1],
            map_pid,
            "what follows the PAT in packet {table}"
        );
    }
    let mut pids: Vec<u16> = ts.pes.iter().map(|pes| pes.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        for pair in ts.of(pid).windows(2) {
            let step = distance(pair[0].dts, pair[1].dts);
            assert!(
                0 < step && step <= leap,
                "PID {pid:#x}: DTS {} then {}",
                pair[0].dts,
                pair[1].dts
            );
        }
    }
    for pes in &ts.pes {
        assert!(
            distance(pes.dts, pes.pts) >= 0,
            "PTS {} before DTS {}",
            pes.pts,
            pes.dts
        );
        let clock = ts.clock.iter().rev().find(|(at, _)| *at <= pes.at);
        if let Some((_, clock)) = clock {
            let ahead = distance(*clock, pes.dts);
            assert!(
                (0..=2 * SECOND).contains(&ahead),
                "DTS {} when the clock is at {clock}",
                pes.dts
            );
        }
    }
    for pair in ts.clock.windows(2) {
        let step = distance(pair[0].1, pair[1].1);
        // Clock references each 40 ms, but where a publisher was away.
        let most = if leap > STEP { leap } else { SECOND / 25 };
        assert!(
            0 < step && step <= most,
            "the clock goes from {} to {}",
            pair[0].1,
            pair[1].1
        );
    }
    if leap == STEP {
        let times: Vec<u64> = ts
            .tables
            .iter()
            .filter_map(|table| {
                ts.clock
                    .iter()
                    .find(|(at, _)| at > table)
                    .map(|(_, clock)| *clock)
            })
            .collect();
        for pair in times.windows(2) {
            let step = distance(pair[0], pair[1]);
            assert!(
                step <= SECOND / 10 + SECOND / 25,
                "{} ms without tables",
                step / 90
            );
        }
    }
}

/// Whether the tracks with the most packets have that much, in seconds.
pub fn lasts(bytes: &[u8], seconds: f64) -> bool {
    let Ok(ts) = Ts::read(&bytes[..bytes.len() - bytes.len() % PACKET]) else {
        return true; // to be judged
    };
    let (first, last) = (ts.clock.first(), ts.clock.last());
    first.zip(last).is_some_and(|((_, first), (_, last))| {
        distance(*first, *last) as f64 >= seconds * SECOND as f64
    })
}

#[track_caller]
pub fn units_of(ts: &Ts, stream_type: u8) -> Vec<Unit> {
    ts.of(ts.pid_of(stream_type))
        .into_iter()
        .map(|pes| unit_of_pes(stream_type, pes))
        .collect()
}

#[track_caller]
pub fn unit_of_pes(stream_type: u8, pes: &Pes) -> Unit {
    match stream_type {
        H264 | HEVC => elementary::slices(stream_type == HEVC, &pes.payload),
        AAC => {
            let mut frames = elementary::adts_frames(&pes.payload);
            assert_eq!(frames.len(), 1, "one frame a PES packet");
            frames.remove(0)
        }
        PRIVATE => elementary::opus_packet(&pes.payload),
        _ => vec![pes.payload.clone()],
    }
}
