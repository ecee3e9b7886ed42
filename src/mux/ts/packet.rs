//! Transport packets (ISO/IEC 13818-1 §2.4.3.2) and the PES packets in them (§2.4.3.6).

use bytes::{BufMut, BytesMut};

use super::clock::{Clock, Hz90k, Pcr};

/// Bytes of a transport packet.
pub const PACKET: usize = 188;
/// The first byte of each.
pub const SYNC: u8 = 0x47;
/// Bytes before adaptation field and payload.
const HEADER: usize = 4;
/// Bytes for adaptation field and payload.
pub(super) const ROOM: usize = PACKET - HEADER;
/// Bytes of an adaptation field with a PCR, its length byte included.
const PCR_FIELD: usize = 8;
/// Bytes of an adaptation field with only flags, its length byte included.
const FLAGS_FIELD: usize = 2;

/// Second byte of a packet: payload_unit_start_indicator.
pub(super) const UNIT_START: u8 = 0x40;
/// Fourth byte: what follows.
pub(super) const PAYLOAD: u8 = 0x10;
const ADAPTATION: u8 = 0x20;
/// Flags of an adaptation field, §2.4.3.4.
const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const PRIORITY: u8 = 0x20;
const HAS_PCR: u8 = 0x10;

/// Bytes of a PES packet that its length does not count: start code, stream_id, length.
const PES_UNCOUNTED: usize = 6;
/// Bytes from flags to header length, which the length counts.
const PES_FLAGS: usize = 3;
/// Bytes of one timestamp.
const TIMESTAMP: usize = 5;

/// The next continuity_counter of a PID. Only packets with payload count (§2.4.3.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counter(u8);

impl Counter {
    /// For a packet with payload.
    pub(super) fn next(&mut self) -> u8 {
        let value = self.0;
        self.0 = (value + 1) & 0x0f;
        value
    }

    /// For a packet without payload: that of the packet before.
    fn same(self) -> u8 {
        self.0.wrapping_sub(1) & 0x0f
    }
}

/// What stands before the payload of a PES packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct PesHeader {
    /// §2.4.3.7, table 2-22.
    pub(super) stream_id: u8,
    /// The length may be left open: only in video.
    pub(super) unbounded: bool,
    /// A player may start here.
    pub(super) random_access: bool,
    /// elementary_stream_priority_indicator, where a player may start.
    pub(super) priority: bool,
    pub(super) pts: Hz90k,
    pub(super) dts: Hz90k,
}

impl PesHeader {
    /// Bytes of the header.
    fn size(&self) -> usize {
        let timestamps = if self.pts == self.dts { 1 } else { 2 };
        PES_UNCOUNTED + PES_FLAGS + timestamps * TIMESTAMP
    }

    /// What PES_packet_length has to say about `size` bytes of payload. None when it cannot.
    fn length(&self, size: usize) -> Option<u16> {
        let length = (self.size() - PES_UNCOUNTED).checked_add(size)?;
        match u16::try_from(length) {
            Ok(length) => Some(length),
            // §2.4.3.7: "a value of 0 indicates that the PES packet length is neither specified nor bounded".
            Err(_) => self.unbounded.then_some(0),
        }
    }

    /// Whether `size` bytes can be its payload.
    pub(super) fn holds(&self, size: usize) -> bool {
        self.length(size).is_some()
    }

    fn to_bytes(self, size: usize) -> ([u8; PES_UNCOUNTED + PES_FLAGS + 2 * TIMESTAMP], usize) {
        /// '10', not scrambled, data_alignment_indicator: a PES packet is a whole access unit.
        const ALIGNED: u8 = 0x84;
        let length = self.length(size).unwrap_or_default().to_be_bytes();
        let header = self.size();
        let both = self.pts != self.dts;
        let [p0, p1, p2, p3, p4] = timestamp(if both { 3 } else { 2 }, self.pts);
        let [d0, d1, d2, d3, d4] = timestamp(1, self.dts);
        let bytes = [
            0,
            0,
            1,
            self.stream_id,
            length[0],
            length[1],
            ALIGNED,
            if both { 0xc0 } else { 0x80 },
            (header - PES_UNCOUNTED - PES_FLAGS) as u8,
            p0,
            p1,
            p2,
            p3,
            p4,
            d0,
            d1,
            d2,
            d3,
            d4,
        ];
        (bytes, header)
    }
}

/// §2.4.3.6: four bits that say which it is, then 33 bits in three pieces with a marker bit after each.
fn timestamp(which: u8, time: Hz90k) -> [u8; TIMESTAMP] {
    let ticks = time.wrapped();
    [
        which << 4 | (ticks >> 29) as u8 & 0x0e | 1,
        (ticks >> 22) as u8,
        (ticks >> 14) as u8 | 1,
        (ticks >> 7) as u8,
        (ticks << 1) as u8 | 1,
    ]
}

/// An upper bound for the bytes that a PES packet with `size` bytes of payload takes, with `pcrs` clock references.
pub(super) fn reservation(size: usize, pcrs: usize) -> usize {
    let most = size + PES_UNCOUNTED + PES_FLAGS + 2 * TIMESTAMP + (pcrs + 1) * PCR_FIELD;
    (most.div_ceil(ROOM) + pcrs) * PACKET
}

/// Cuts one PES packet into transport packets while it is written.
///
/// [`PesWriter::begin`] is told how many bytes will come; then exactly as many are [`PesWriter::put`]. Stuffing goes into the
/// adaptation field of the last packet, the only place for it (§2.4.3.5).
pub(super) struct PesWriter<'a> {
    out: &'a mut BytesMut,
    pid: u16,
    counter: &'a mut Counter,
    /// Where the clock references come from, if this PID carries them: each packet takes one while there are any.
    clock: Option<&'a mut Clock>,
    /// Flags of the first packet's adaptation field.
    start_flags: u8,
    /// Bytes that are still to come.
    left: usize,
    /// Bytes that still fit into the packet that was begun.
    room: usize,
    first: bool,
}

impl<'a> PesWriter<'a> {
    pub(super) fn begin(
        out: &'a mut BytesMut,
        pid: u16,
        counter: &'a mut Counter,
        clock: Option<&'a mut Clock>,
        header: PesHeader,
        size: usize,
    ) -> Self {
        debug_assert!(header.holds(size));
        let (bytes, used) = header.to_bytes(size);
        let mut writer = Self {
            out,
            pid,
            counter,
            clock,
            start_flags: match (header.random_access, header.priority) {
                (true, true) => RANDOM_ACCESS | PRIORITY,
                (true, false) => RANDOM_ACCESS,
                _ => 0,
            },
            left: used + size,
            room: 0,
            first: true,
        };
        writer.put(bytes.get(..used).unwrap_or_default());
        writer
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.left);
        while !bytes.is_empty() {
            if self.room == 0 {
                self.open();
            }
            let (now, later) = bytes.split_at_checked(self.room).unwrap_or((bytes, &[]));
            self.out.put_slice(now);
            self.room -= now.len();
            self.left = self.left.saturating_sub(now.len());
            bytes = later;
        }
    }

    fn open(&mut self) {
        let pcr = self.clock.as_deref_mut().and_then(Clock::next_pcr);
        let start = std::mem::take(&mut self.first);
        let mut flags = pcr.map_or(0, pcr_flags);
        if start {
            flags |= self.start_flags;
        }
        let least = match (pcr, flags) {
            (Some(_), _) => PCR_FIELD,
            (None, 0) => 0,
            (None, _) => FLAGS_FIELD,
        };
        let field = least.max(ROOM.saturating_sub(self.left));
        put_header(
            self.out,
            if start { UNIT_START } else { 0 },
            self.pid,
            PAYLOAD | if field > 0 { ADAPTATION } else { 0 } | self.counter.next(),
        );
        put_adaptation_field(self.out, field, flags, pcr);
        self.room = ROOM - field;
    }
}

/// A packet that carries nothing but a clock reference.
pub(super) fn put_pcr(out: &mut BytesMut, pid: u16, counter: Counter, pcr: Pcr) {
    put_header(out, 0, pid, ADAPTATION | counter.same());
    put_adaptation_field(out, ROOM, pcr_flags(pcr), Some(pcr));
}

fn pcr_flags(pcr: Pcr) -> u8 {
    HAS_PCR | if pcr.discontinuity { DISCONTINUITY } else { 0 }
}

fn put_header(out: &mut BytesMut, start: u8, pid: u16, rest: u8) {
    let [high, low] = pid.to_be_bytes();
    out.put_slice(&[SYNC, start | high, low, rest]);
}

/// §2.4.3.4. `size` counts the length byte; what is left of it is stuffing.
fn put_adaptation_field(out: &mut BytesMut, size: usize, flags: u8, pcr: Option<Pcr>) {
    let Some(length) = size.checked_sub(1) else {
        return;
    };
    // At most ROOM - 1.
    out.put_u8(length as u8);
    if length == 0 {
        return;
    }
    out.put_u8(flags);
    let mut used = FLAGS_FIELD;
    if let Some(pcr) = pcr {
        // §2.4.3.5: 33 bits of 90 kHz, six reserved ones, nine bits of 27 MHz, which are 0: our clock has milliseconds.
        let field = pcr.at.wrapped() << 15 | 0x3f << 9;
        out.put_uint(field, 6);
        used = PCR_FIELD;
    }
    out.put_bytes(0xff, size.saturating_sub(used));
}
