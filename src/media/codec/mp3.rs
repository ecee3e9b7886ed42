//! MP3: the four bytes before each frame (ISO/IEC 11172-3 §2.4.2.3, ISO/IEC 13818-3 §2.4.2.3, and the unofficial MPEG-2.5).

use super::{Codec, CodecError, CodecInfo};
use crate::media::read::BitReader;

/// Sample rate and channels of the first frame.
pub(super) fn read_frame(frame: &[u8]) -> Result<CodecInfo, CodecError> {
    const SYNC: u32 = 0x7ff;
    const LAYER_3: u32 = 1;
    const MONO: u32 = 3;
    let mut bits = BitReader::new(frame);
    if bits.bits(11, "frame sync")? != SYNC {
        return Err(CodecError::Invalid {
            what: "no MPEG audio sync",
            offset: 0,
        });
    }
    let version = bits.bits(2, "version")?;
    let layer = bits.bits(2, "layer")?;
    bits.skip(1 + 4, "protection bit, bit rate index")?;
    let rate = bits.bits(2, "sampling rate index")?;
    bits.skip(2, "padding, private bit")?;
    let mode = bits.bits(2, "channel mode")?;
    let invalid = |what| CodecError::Invalid { what, offset: 1 };
    if layer != LAYER_3 {
        return Err(invalid("MPEG audio, but not layer III"));
    }
    let rate = match rate {
        0 => 44_100,
        1 => 48_000,
        2 => 32_000,
        _ => return Err(invalid("reserved sampling rate")),
    };
    let divisor = match version {
        3 => 1,
        2 => 2,
        // MPEG-2.5: no standard, but every decoder has it.
        0 => 4,
        _ => return Err(invalid("reserved MPEG version")),
    };
    Ok(CodecInfo {
        sample_rate_hz: Some(rate / divisor),
        channels: Some(if mode == MONO { 1 } else { 2 }),
        ..CodecInfo::new(Codec::Mp3)
    })
}
