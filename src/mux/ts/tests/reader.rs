//! A strict reader of transport streams: it panics at anything that is not as ISO/IEC 13818-1 says, or not as this crate
//! promises. It shares no code with the muxer.

use std::collections::HashMap;

const PACKET: usize = 188;
const PMT_PID: u16 = 0x1000;

/// A PES packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pes {
    pub pid: u16,
    pub stream_id: u8,
    pub random_access: bool,
    /// elementary_stream_priority_indicator.
    pub priority: bool,
    /// 33 bits.
    pub pts: u64,
    /// 33 bits.
    pub dts: u64,
    pub payload: Vec<u8>,
    /// PES_packet_length.
    pub length: u16,
    /// The newest clock reference in its last packet or before, in 90 kHz.
    pub pcr: u64,
}

/// A program map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map {
    pub version: u8,
    pub pcr_pid: u16,
    /// stream_type, PID, descriptors.
    pub streams: Vec<(u8, u16, Vec<u8>)>,
}

/// A clock reference: 33 bits of 90 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pcr {
    pub at: u64,
    pub discontinuity: bool,
    /// It has a packet of its own.
    pub alone: bool,
}

/// What a stream holds so far. Can be cloned to look on from the middle.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    counters: HashMap<u16, u8>,
    /// PES packets that began: place, bytes of header that their length counts.
    open: HashMap<u16, (usize, usize)>,
    pub map: Option<Map>,
    pub pes: Vec<Pes>,
    pub pcrs: Vec<Pcr>,
    /// How many times PAT and PMT came, with the number of clock references before each.
    pub tables: Vec<usize>,
    pub packets: usize,
}

impl Reader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads whole packets with whole PES packets.
    pub fn feed(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len() % PACKET, 0, "whole packets");
        for packet in bytes.chunks(PACKET) {
            self.packet(packet);
            self.packets += 1;
        }
        for pid in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(pid);
        }
    }

    fn packet(&mut self, packet: &[u8]) {
        assert_eq!(packet[0], 0x47, "sync byte");
        assert_eq!(packet[1] & 0xa0, 0, "no error, no priority");
        let start = packet[1] & 0x40 != 0;
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        assert_eq!(packet[3] & 0xc0, 0, "not scrambled");
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        assert!(has_field || has_payload);
        let counter = packet[3] & 0x0f;
        if let Some(last) = self.counters.insert(pid, counter) {
            let expected = (last + u8::from(has_payload)) & 0x0f;
            assert_eq!(counter, expected, "continuity_counter of PID {pid:#x}");
        }
        let mut at = 4;
        let (mut random_access, mut priority) = (false, false);
        if has_field {
            let length = usize::from(packet[4]);
            assert!(if has_payload {
                length <= 182
            } else {
                length == 183
            });
            (random_access, priority) =
                self.adaptation_field(pid, &packet[5..5 + length], has_payload);
            at += 1 + length;
        }
        if !has_payload {
            return;
        }
        match pid {
            0 | PMT_PID => {
                assert!(start && !has_field);
                self.section(pid, &packet[at..]);
            }
            _ => self.elementary(pid, start, (random_access, priority), &packet[at..]),
        }
    }

    fn adaptation_field(&mut self, pid: u16, field: &[u8], has_payload: bool) -> (bool, bool) {
        let Some((&flags, rest)) = field.split_first() else {
            return (false, false);
        };
        assert_eq!(flags & 0x0f, 0, "flags that we do not use");
        let mut rest = rest;
        if flags & 0x10 != 0 {
            let map = self.map.as_ref().expect("a PMT before a PCR");
            assert_eq!(map.pcr_pid, pid);
            let (pcr, after) = rest.split_at(6);
            let pcr = pcr
                .iter()
                .fold(0u64, |pcr, byte| pcr << 8 | u64::from(*byte));
            assert_eq!(pcr & 0x7fff, 0x7e00, "reserved bits, no extension");
            self.pcrs.push(Pcr {
                at: pcr >> 15,
                discontinuity: flags & 0x80 != 0,
                alone: !has_payload,
            });
            rest = after;
        } else {
            assert!(has_payload, "a packet of nothing");
            assert_eq!(flags & 0x80, 0);
        }
        assert!(rest.iter().all(|byte| *byte == 0xff), "stuffing");
        (flags & 0x40 != 0, flags & 0x20 != 0)
    }

    fn section(&mut self, pid: u16, payload: &[u8]) {
        assert_eq!(payload[0], 0, "pointer_field");
        let length = usize::from(u16::from_be_bytes([payload[2] & 0x0f, payload[3]]));
        assert_eq!(payload[2] & 0xf0, 0xb0);
        let (section, stuffing) = payload[1..].split_at(3 + length);
        assert!(stuffing.iter().all(|byte| *byte == 0xff));
        assert_eq!(crc32(section), 0, "CRC of a section with its CRC");
        assert_eq!(section[5] & 0xc1, 0xc1, "current");
        assert_eq!(section[6..8], [0, 0], "one section");
        let body = &section[8..section.len() - 4];
        if pid == 0 {
            assert_eq!(section[0], 0);
            assert_eq!(body, [0, 1, 0xf0, 0]);
            self.tables.push(self.pcrs.len());
            return;
        }
        assert_eq!(section[0], 2);
        assert_eq!(section[3..5], [0, 1], "program_number");
        let mut map = Map {
            version: section[5] >> 1 & 0x1f,
            pcr_pid: u16::from_be_bytes([body[0] & 0x1f, body[1]]),
            streams: Vec::new(),
        };
        assert_eq!(body[2..4], [0xf0, 0]);
        let mut rest = &body[4..];
        while let [kind, high, low, length_high, length_low, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([length_high & 0x0f, *length_low]));
            let (descriptors, after) = after.split_at(length);
            let pid = u16::from_be_bytes([high & 0x1f, *low]);
            map.streams.push((*kind, pid, descriptors.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty());
        assert!(map.streams.iter().any(|(_, pid, _)| *pid == map.pcr_pid));
        if let Some(known) = &self.map {
            let same = (known.pcr_pid, &known.streams) == (map.pcr_pid, &map.streams);
            let version = (known.version + u8::from(!same)) & 0x1f;
            assert_eq!(map.version, version, "version of the PMT");
        }
        self.map = Some(map);
    }

    fn elementary(
        &mut self,
        pid: u16,
        start: bool,
        (random_access, priority): (bool, bool),
        payload: &[u8],
    ) {
        let Some(map) = &self.map else {
            panic!("PID {pid:#x} before any PMT");
        };
        let own = map.streams.iter().find(|(_, known, _)| *known == pid);
        let (_, _, descriptors) = own.expect("a PID of the PMT");
        // AV1 demands priority where a player may start, and nothing else has it.
        let av1 = descriptors.starts_with(b"\x05\x04AV01");
        assert_eq!(priority, av1 && random_access);
        if !start {
            let (place, _) = self.open[&pid];
            self.pes[place].payload.extend_from_slice(payload);
            self.pes[place].pcr = self.pcrs[self.pcrs.len() - 1].at;
            return;
        }
        self.close(pid);
        assert_eq!(payload[..3], [0, 0, 1]);
        assert_eq!(payload[6], 0x84);
        let header = usize::from(payload[8]);
        let (pts, dts) = match payload[7] {
            0x80 => {
                assert_eq!(header, 5);
                let pts = timestamp(2, &payload[9..14]);
                (pts, pts)
            }
            0xc0 => {
                assert_eq!(header, 10);
                (
                    timestamp(3, &payload[9..14]),
                    timestamp(1, &payload[14..19]),
                )
            }
            flags => panic!("flags {flags:#x}"),
        };
        let pes = Pes {
            pid,
            stream_id: payload[3],
            random_access,
            priority,
            pts,
            dts,
            length: u16::from_be_bytes([payload[4], payload[5]]),
            payload: payload[9 + header..].to_vec(),
            pcr: self.pcrs.last().expect("a PCR before media").at,
        };
        assert!(later(pts, dts) < 1 << 32, "PTS before DTS");
        self.open.insert(pid, (self.pes.len(), 3 + header));
        self.pes.push(pes);
    }

    fn close(&mut self, pid: u16) {
        let Some((place, header)) = self.open.remove(&pid) else {
            return;
        };
        let pes = &self.pes[place];
        if pes.length == 0 {
            // AV1 is video in private data.
            let av1 = pes.payload.starts_with(&[0, 0, 1]) && pes.stream_id == 0xbd;
            let video = pes.stream_id & 0xf0 == 0xe0 || av1;
            assert!(video, "only video may be unbounded");
        } else {
            assert_eq!(usize::from(pes.length), header + pes.payload.len());
        }
    }

    /// The elementary stream of a PID.
    pub fn stream(&self, pid: u16) -> Vec<u8> {
        let of_pid = self.pes.iter().filter(|pes| pes.pid == pid);
        of_pid.flat_map(|pes| pes.payload.clone()).collect()
    }
}

/// By how much the first is later, modulo 2^33.
pub fn later(first: u64, second: u64) -> u64 {
    first.wrapping_sub(second) & ((1 << 33) - 1)
}

fn timestamp(which: u8, bytes: &[u8]) -> u64 {
    assert_eq!(bytes[0] >> 4, which);
    assert_eq!(bytes[0] & bytes[2] & bytes[4] & 1, 1, "marker bits");
    u64::from(bytes[0] >> 1 & 7) << 30
        | u64::from(bytes[1]) << 22
        | u64::from(bytes[2] >> 1) << 15
        | u64::from(bytes[3]) << 7
        | u64::from(bytes[4] >> 1)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
    {
        let top = crc >> 31;
        crc <<= 1;
        if top != u32::from(bit) {
            crc ^= 0x04c1_1db7;
        }
    }
    crc
}
