//! Reading what a peer sent, byte by byte and bit by bit, without ever reaching past its end.
//!
//! Both readers know where they stand, so that an error can say at which offset of the tag body or of the
//! configuration record something was missing, and what it was.

/// The input ended before `reading` was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// What was being read.
    pub(crate) reading: &'static str,
    /// Where it begins, in bytes from the start of what the reader was given.
    pub(crate) offset: usize,
}

/// A cursor over bytes. Integers are big-endian, as in FLV, AMF and the ISO configuration records.
#[derive(Debug, Clone)]
pub(crate) struct ByteReader<'a> {
    input: &'a [u8],
    position: usize,
}

impl<'a> ByteReader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, position: 0 }
    }

    /// Continues at `position`, which may lie at or past the end: the next read then fails.
    pub(crate) fn at(input: &'a [u8], position: usize) -> Self {
        Self { input, position }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.input.get(self.position..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn take(&mut self, count: usize, reading: &'static str) -> Result<&'a [u8], Short> {
        let taken = self.rest().get(..count).ok_or(Short {
            reading,
            offset: self.position,
        })?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], Short> {
        let taken = self.rest().first_chunk::<N>().ok_or(Short {
            reading,
            offset: self.position,
        })?;
        self.position += N;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, reading: &'static str) -> Result<u8, Short> {
        Ok(self.array::<1>(reading)?[0])
    }

    pub(crate) fn u16(&mut self, reading: &'static str) -> Result<u16, Short> {
        Ok(u16::from_be_bytes(self.array(reading)?))
    }

    pub(crate) fn u24(&mut self, reading: &'static str) -> Result<u32, Short> {
        let [a, b, c] = self.array(reading)?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// FLV's SI24: two's complement in three bytes, which the shift right sign-extends.
    pub(crate) fn i24(&mut self, reading: &'static str) -> Result<i32, Short> {
        let [a, b, c] = self.array(reading)?;
        Ok(i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    pub(crate) fn u32(&mut self, reading: &'static str) -> Result<u32, Short> {
        Ok(u32::from_be_bytes(self.array(reading)?))
    }

    pub(crate) fn four_cc(&mut self, reading: &'static str) -> Result<[u8; 4], Short> {
        self.array(reading)
    }
}

/// A cursor over bits, most significant first.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    input: &'a [u8],
    /// In bits.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, position: 0 }
    }

    /// Bits that were not read yet.
    pub(crate) fn left(&self) -> usize {
        (self.input.len() * 8).saturating_sub(self.position)
    }

    /// Offset of the byte in which the next bit is.
    pub(crate) fn offset(&self) -> usize {
        self.position / 8
    }

    /// Up to 32 bits as a number.
    pub(crate) fn bits(&mut self, count: u32, reading: &'static str) -> Result<u32, Short> {
        debug_assert!(count <= 32);
        let short = Short {
            reading,
            offset: self.offset(),
        };
        if self.left() < count as usize {
            return Err(short);
        }
        let mut value = 0;
        for _ in 0..count {
            let byte = self.input.get(self.position / 8).ok_or(short)?;
            value = value << 1 | u32::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Ok(value)
    }

    pub(crate) fn bit(&mut self, reading: &'static str) -> Result<bool, Short> {
        Ok(self.bits(1, reading)? == 1)
    }

    pub(crate) fn skip(&mut self, count: usize, reading: &'static str) -> Result<(), Short> {
        if self.left() < count {
            return Err(Short {
                reading,
                offset: self.offset(),
            });
        }
        self.position += count;
        Ok(())
    }

    /// To the next byte boundary, where it does not stand at one.
    pub(crate) fn align(&mut self) {
        self.position = self.position.next_multiple_of(8);
    }

    /// Exp-Golomb, ue(v) of H.264 §9.1 and H.265 §9.2; also AV1's uvlc(). At most 32 leading zeros are taken, of which 32
    /// mean 2^32 - 1 or more, which is said to be `u32::MAX`.
    pub(crate) fn ue(&mut self, reading: &'static str) -> Result<u32, Short> {
        let mut zeros = 0;
        while !self.bit(reading)? {
            zeros += 1;
            if zeros == 32 {
                return Ok(u32::MAX);
            }
        }
        Ok((1 << zeros) - 1 + self.bits(zeros, reading)?)
    }

    /// Signed Exp-Golomb, se(v) of H.264 §9.1.1. Only ever skipped, or compared with small numbers: saturates.
    pub(crate) fn se(&mut self, reading: &'static str) -> Result<i32, Short> {
        let code = self.ue(reading)?;
        let magnitude = i32::try_from(code.div_ceil(2)).unwrap_or(i32::MAX);
        Ok(if code % 2 == 0 { -magnitude } else { magnitude })
    }
}

/// The raw byte sequence payload of a NAL unit: without the emulation prevention bytes (H.264 §7.3.1, H.265 §7.3.1.1:
/// 00 00 03 stands for 00 00).
pub(crate) fn rbsp(nal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}
