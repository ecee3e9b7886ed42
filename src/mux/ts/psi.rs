//! Program association table and program map table (ISO/IEC 13818-1 §2.4.4), each in one packet.

use bytes::{BufMut, BytesMut};

use super::packet::{Counter, PACKET, PAYLOAD, ROOM, SYNC, UNIT_START};

/// §2.4.3.3, table 2-3.
const PAT_PID: u16 = 0;
/// Where the program map table is. Any PID from 0x0010 to 0x1ffe would do; this is the one that FFmpeg uses.
pub const PMT_PID: u16 = 0x1000;
/// The only program.
const PROGRAM: u16 = 1;
/// There is one transport stream, so any id will do.
const TRANSPORT_STREAM: u16 = 1;

/// §2.4.4.4, table 2-31.
const PAT_TABLE: u8 = 0;
const PMT_TABLE: u8 = 2;
/// Bytes of a section up to the version: table_id, length, id, version.
const SECTION_HEAD: usize = 8;
const CRC: usize = 4;

/// How many bytes the streams of a program may take in its map, so that the map fits into one packet: less the pointer, and
/// PCR_PID and program_info_length.
pub(super) const MAX_STREAMS: usize = ROOM - 1 - SECTION_HEAD - 4 - CRC;

/// Both tables as packets, and their counters.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pat: Table,
    pmt: Table,
    map: Map,
    /// The map that was written last.
    written: Option<Map>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Map {
    /// Five bits.
    version: u8,
    pcr_pid: u16,
    /// As they stand in the map.
    streams: Vec<u8>,
}

impl Tables {
    /// Of a program without streams.
    pub(super) fn new() -> Self {
        let mut program = Vec::new();
        program.put_u16(PROGRAM);
        program.put_u16(0xe000 | PMT_PID);
        Self {
            pat: Table::new(PAT_PID, &section(PAT_TABLE, TRANSPORT_STREAM, 0, &program)),
            pmt: Table::new(PMT_PID, &[]),
            map: Map::default(),
            written: None,
        }
    }

    /// States the streams, each a [`stream`], at most [`MAX_STREAMS`] bytes. True when that is a change. What is written next
    /// has the next version then, whatever the number of changes since the last time.
    pub(super) fn set_map(&mut self, pcr_pid: u16, streams: Vec<u8>) -> bool {
        debug_assert!(streams.len() <= MAX_STREAMS);
        if (pcr_pid, &streams) == (self.map.pcr_pid, &self.map.streams) {
            return false;
        }
        let version = match &self.written {
            None => 0,
            Some(map) if (pcr_pid, &streams) == (map.pcr_pid, &map.streams) => map.version,
            Some(map) => (map.version + 1) & 0x1f,
        };
        let mut body = Vec::new();
        body.put_u16(0xe000 | pcr_pid);
        body.put_u16(0xf000); // program_info_length 0
        body.extend_from_slice(&streams);
        let section = section(PMT_TABLE, PROGRAM, version, &body);
        self.pmt.set(PMT_PID, &section);
        self.map = Map {
            version,
            pcr_pid,
            streams,
        };
        true
    }

    /// Bytes that [`Tables::write`] appends.
    pub(super) const SIZE: usize = 2 * PACKET;

    pub(super) fn write(&mut self, out: &mut BytesMut) {
        self.pat.write(out);
        self.pmt.write(out);
        if self.written.as_ref() != Some(&self.map) {
            self.written = Some(self.map.clone());
        }
    }
}

/// Whether packets begin with what [`Tables::write`] wrote.
pub(super) fn begins_with_tables(packets: &[u8]) -> bool {
    packets.starts_with(&[SYNC, UNIT_START, 0])
}

/// One table as a packet.
#[derive(Debug, Clone)]
struct Table {
    packet: [u8; PACKET],
    counter: Counter,
}

impl Table {
    fn new(pid: u16, section: &[u8]) -> Self {
        let mut table = Self {
            packet: [0xff; PACKET],
            counter: Counter::default(),
        };
        table.set(pid, section);
        table
    }

    /// §2.4.4.1: pointer_field 0, the section, stuffing.
    fn set(&mut self, pid: u16, section: &[u8]) {
        let [high, low] = pid.to_be_bytes();
        let head = [SYNC, UNIT_START | high, low, PAYLOAD, 0];
        let bytes = head.iter().chain(section).chain(std::iter::repeat(&0xff));
        self.packet
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    }

    fn write(&mut self, out: &mut BytesMut) {
        let [a, b, c, _, rest @ ..] = &self.packet;
        out.put_slice(&[*a, *b, *c, PAYLOAD | self.counter.next()]);
        out.put_slice(rest);
    }
}

/// One stream in a program map: §2.4.4.8.
pub(super) fn stream(stream_type: u8, pid: u16, descriptors: &[u8]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(5 + descriptors.len());
    stream.put_u8(stream_type);
    stream.put_u16(0xe000 | pid);
    stream.put_u16(0xf000 | descriptors.len() as u16); // ES_info_length, at most some dozens
    stream.put_slice(descriptors);
    stream
}

/// A section with its CRC: §2.4.4.3, §2.4.4.8.
fn section(table: u8, id: u16, version: u8, body: &[u8]) -> Vec<u8> {
    const SYNTAX: u16 = 0xb000;
    const CURRENT: u8 = 1;
    // What follows the length itself.
    let length = SECTION_HEAD - 3 + body.len() + CRC;
    let mut section = Vec::with_capacity(3 + length);
    section.put_u8(table);
    section.put_u16(SYNTAX | length as u16);
    section.put_u16(id);
    section.put_u8(0xc0 | version << 1 | CURRENT);
    section.put_u16(0); // section_number, last_section_number
    section.put_slice(body);
    section.put_u32(crc32(&section));
    section
}

/// §2.4.4.3, Annex A: polynomial 0x04c11db7, from all ones, not reflected. Bit by bit: tables change rarely.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}
