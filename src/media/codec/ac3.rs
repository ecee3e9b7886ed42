//! AC-3 and E-AC-3: bit stream information at the start of each frame (ETSI TS 102 366 §4.3, §E.1.2).

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::BitReader;

/// ETSI TS 102 366 table 4.1, `fscod`.
const SAMPLE_RATES_HZ: [u32; 3] = [48_000, 44_100, 32_000];
/// ETSI TS 102 366 table 4.3, full bandwidth channels of `acmod`.
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// Sample rate and channels of the first frame. Dependent substreams of E-AC-3, which may add channels, are not looked at.
pub(super) fn read_frame(codec: Codec, frame: &[u8]) -> Result<CodecInfo, CodecError> {
    let mut bits = BitReader::new(frame);
    if bits.bits(16, "syncword")? != 0x0b77 {
        return Err(CodecError::Invalid {
            what: "no AC-3 syncword",
            offset: 0,
        });
    }
    let (rate, mode, lfe) = if codec == Codec::Ac3 {
        ac3(&mut bits)?
    } else {
        eac3(&mut bits)?
    };
    let channels = CHANNELS.get(mode as usize).map(|full| full + u8::from(lfe));
    Ok(CodecInfo {
        sample_rate_hz: rate,
        channels,
        ..CodecInfo::new(codec)
    })
}

type Facts = (Option<u32>, u32, bool);

/// ETSI TS 102 366 §4.3.1 and §4.3.2.
fn ac3(bits: &mut BitReader<'_>) -> Result<Facts, CodecError> {
    bits.skip(16, "crc1")?;
    let rate = bits.bits(2, "fscod")?;
    bits.skip(6 + 5 + 3, "frmsizecod, bsid, bsmod")?;
    let mode = bits.bits(3, "acmod")?;
    if mode & 1 != 0 && mode != 1 {
        bits.skip(2, "cmixlev")?;
    }
    if mode & 4 != 0 {
        bits.skip(2, "surmixlev")?;
    }
    if mode == 2 {
        bits.skip(2, "dsurmod")?;
    }
    let lfe = bits.bit("lfeon")?;
    Ok((SAMPLE_RATES_HZ.get(rate as usize).copied(), mode, lfe))
}

/// ETSI TS 102 366 §E.1.2.2.
fn eac3(bits: &mut BitReader<'_>) -> Result<Facts, CodecError> {
    bits.skip(2 + 3 + 11, "strmtyp, substreamid, frmsiz")?;
    let rate = match bits.bits(2, "fscod")? {
        // Half the rates of AC-3.
        3 => SAMPLE_RATES_HZ
            .get(bits.bits(2, "fscod2")? as usize)
            .map(|rate| rate / 2),
        code => {
            bits.skip(2, "numblkscod")?;
            SAMPLE_RATES_HZ.get(code as usize).copied()
        }
    };
    let mode = bits.bits(3, "acmod")?;
    let lfe = bits.bit("lfeon")?;
    Ok((rate, mode, lfe))
}
