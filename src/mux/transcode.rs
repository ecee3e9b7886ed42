//! AAC to MP3: frames in, frames out, for HTTP-MP3 of streams whose sound is AAC.
//!
//! - *Is transformed*: the AAC of one track, the one with the lowest id, into MP3 of a constant bit rate at the same sampling rate. Five or
//!   six channels are mixed down to two.
//! - *Passes through*: MP3. A publisher may follow another that sent AAC.
//! - *Is dropped*: all else; frames before their AudioSpecificConfig.
//!
//! The bit reservoir is not used: each MP3 frame decodes without the ones before it, so players start anywhere and lose
//! nothing. A frame that cannot be decoded becomes silence of the same length, so that the sound stays as long as it was. What is
//! left over when the sampling rate or the channels change is filled up with silence to a whole frame.
//!
//! The caller gives frames in order to [`Transcoder::push`], on a thread that may be busy: an AAC frame takes some 0.2 ms.

use bytes::{BufMut, Bytes, BytesMut};
use rusty_aac::AacDecoder;
use rusty_mp3::encode::Mp3Encode;
use rusty_mp3::header::FrameHeader;
use thiserror::Error;

use crate::media::codec::CodecInfo;
use crate::media::{Codec, Frame, FrameKind, PacketType, Part};

/// The first byte of an FLV tag body with MP3 (FLV 10.1 §E.4.2.1): format 2, 44 kHz, 16 bits, stereo. Of rate and channels, readers go by
/// the MP3 frame's own header.
const MP3_BODY: u8 = 0x2f;

/// The most channels that are mixed down: 5.1.
const MAX_CHANNELS: u8 = 6;

/// Samples an AAC frame stands for when it cannot be decoded and none before it could (ISO/IEC 14496-3 §4.5.2.1.1).
const AAC_SAMPLES: usize = 1024;

/// The share of the centre and of the channels behind in a side, as ITU-R BS.775 has it.
const MINUS_3_DB: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Why a stream's AAC cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The AudioSpecificConfig is broken, or of a sort of AAC that cannot be decoded, such as xHE-AAC.
    #[error("it is of a sort that cannot be decoded here")]
    Profile,
    /// MP3 has nine sampling rates from 8 to 48 kHz.
    #[error("MP3 has no sampling rate of {0} Hz")]
    SampleRate(u32),
    /// More than 5.1, or a layout that nothing tells.
    #[error("its channels are more than 5.1, or unknown")]
    Channels,
}

/// See the [module](self).
pub struct Transcoder {
    kbps: u32,
    /// The lowest id seen.
    track: Option<u8>,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
    /// Planes of the frame at work: left and right.
    planes: [Vec<f32>; 2],
    broken: u64,
}

struct Decoder {
    config: Bytes,
    aac: AacDecoder,
    /// What the last frame gave, for the length of one that cannot be decoded.
    last: Option<Shape>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    rate_hz: u32,
    channels: u16,
    samples: usize,
}

impl Transcoder {
    /// `kbps`: the bit rate for two channels at 32 kHz or more; one channel gets half of it, and so does a lower sampling rate.
    pub fn new(kbps: u32) -> Self {
        Self {
            kbps,
            track: None,
            decoder: None,
            encoder: None,
            planes: [Vec::new(), Vec::new()],
            broken: 0,
        }
    }

    /// Whether AAC with this AudioSpecificConfig can be converted.
    ///
    /// # Errors
    /// [`TranscodeError`] says why not.
    pub fn supports(config: &[u8]) -> Result<(), TranscodeError> {
        let part = Part {
            track: 0,
            codec: Codec::Aac,
            keyframe: false,
            packet: PacketType::SequenceStart,
            composition_ms: 0,
            nano_offset: 0,
            data: Bytes::copy_from_slice(config),
        };
        let info = CodecInfo::of_part(&part).map_err(|_| TranscodeError::Profile)?;
        if !info
            .channels
            .is_some_and(|channels| (1..=MAX_CHANNELS).contains(&channels))
        {
            return Err(TranscodeError::Channels);
        }
        let aac = AacDecoder::with_config_bytes(config).map_err(|_| TranscodeError::Profile)?;
        let rate_hz = aac.output_sample_rate().unwrap_or(0);
        rusty_mp3::encoder_header(rate_hz, 2, 128)
            .map_err(|_| TranscodeError::SampleRate(rate_hz))?;
        Ok(())
    }

    /// Frames that could not be decoded; each became silence.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Takes the next frame of the stream, and appends what is whole by it.
    pub fn push(&mut self, frame: &Frame, out: &mut Vec<Frame>) {
        if frame.kind != FrameKind::Audio {
            return;
        }
        for part in frame.parts().map_while(Result::ok) {
            match (part.codec, part.packet) {
                (Codec::Aac, PacketType::SequenceStart) => self.configure(part, out),
                (Codec::Aac, PacketType::CodedFrames) => self.convert(&part, frame.dts_ms, out),
                (Codec::Mp3, PacketType::CodedFrames) => {
                    self.finish(out);
                    self.decoder = None;
                    self.track = None;
                    out.push(frame.clone());
                    return;
                }
                _ => {}
            }
        }
    }

    /// Fills up what is left over to a whole frame.
    pub fn finish(&mut self, out: &mut Vec<Frame>) {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish(out);
        }
    }

    fn configure(&mut self, part: Part, out: &mut Vec<Frame>) {
        let ours = self.track.is_none_or(|track| part.track <= track);
        // FFmpeg begins with an empty config when it has none yet.
        if !ours || part.data.is_empty() {
            return;
        }
        self.track = Some(part.track);
        let same = self
            .decoder
            .as_ref()
            .is_some_and(|decoder| decoder.config == part.data);
        if same {
            return;
        }
        self.decoder = Self::supports(&part.data)
            .ok()
            .and_then(|()| Decoder::new(part.data));
        if self.decoder.is_none() {
            self.finish(out);
        }
    }

    fn convert(&mut self, part: &Part, dts_ms: u64, out: &mut Vec<Frame>) {
        if self.track != Some(part.track) {
            return;
        }
        let Some(decoder) = self.decoder.as_mut() else {
            return;
        };
        let Some(shape) = decoder.decode(&part.data, &mut self.planes, &mut self.broken) else {
            return;
        };
        let stereo = shape.channels > 1;
        let fits = |encoder: &Encoder| encoder.is(shape.rate_hz, stereo);
        if !self.encoder.as_ref().is_some_and(fits) {
            self.finish(out);
            self.encoder = Encoder::new(shape.rate_hz, stereo, self.kbps);
        }
        if let Some(encoder) = self.encoder.as_mut() {
            encoder.push(&self.planes, dts_ms, out);
        }
    }
}

impl Decoder {
    fn new(config: Bytes) -> Option<Self> {
        let aac = AacDecoder::with_config_bytes(&config).ok()?;
        Some(Self {
            // A copy: what is kept must not hold on to a read buffer.
            config: Bytes::copy_from_slice(&config),
            aac,
            last: None,
        })
    }

    /// Puts one or two planes of sound into `planes`. None while nothing is known of a frame that cannot be decoded.
    fn decode(
        &mut self,
        data: &[u8],
        planes: &mut [Vec<f32>; 2],
        broken: &mut u64,
    ) -> Option<Shape> {
        for plane in planes.iter_mut() {
            plane.clear();
        }
        match self.aac.decode(data, None) {
            Ok(sound) if sound.channels > 0 && sound.frames() > 0 => {
                let channels = usize::from(sound.channels);
                mix(&sound.samples, channels, planes);
                let shape = Shape {
                    rate_hz: sound.sample_rate,
                    channels: sound.channels,
                    samples: sound.frames(),
                };
                self.last = Some(shape);
                Some(shape)
            }
            _ => {
                *broken += 1;
                let shape = self.last?;
                // AAC frames overlap: what follows begins with what the decoder still has.
                for plane in planes.iter_mut() {
                    plane.resize(shape.samples.max(AAC_SAMPLES), 0.0);
                }
                Some(shape)
            }
        }
    }
}

/// Takes interleaved samples apart; of more than two channels, in the order FL FR FC (LFE) BL BR of ISO/IEC 23001-8, a mix of two.
fn mix(samples: &[f32], channels: usize, planes: &mut [Vec<f32>; 2]) {
    let [left, right] = planes;
    if channels <= 2 {
        left.extend(samples.iter().step_by(channels).map(|s| admit(*s)));
        if channels == 2 {
            right.extend(samples.iter().skip(1).step_by(2).map(|s| admit(*s)));
        }
        return;
    }
    // What the left side is made of, and the right. Either adds up to 1, so that nothing is clipped that was not.
    let weights: (&[f32], &[f32]) = match channels {
        3 => (&[1.0, 0.0, MINUS_3_DB], &[0.0, 1.0, MINUS_3_DB]),
        4 => (&[1.0, 0.0, MINUS_3_DB, 0.5], &[0.0, 1.0, MINUS_3_DB, 0.5]),
        5 => (
            &[1.0, 0.0, MINUS_3_DB, MINUS_3_DB, 0.0],
            &[0.0, 1.0, MINUS_3_DB, 0.0, MINUS_3_DB],
        ),
        // The low frequency channel is left out, as stereo decoders do.
        _ => (
            &[1.0, 0.0, MINUS_3_DB, 0.0, MINUS_3_DB, 0.0],
            &[0.0, 1.0, MINUS_3_DB, 0.0, 0.0, MINUS_3_DB],
        ),
    };
    let total: f32 = weights.0.iter().sum();
    let weigh = |frame: &[f32], row: &[f32]| {
        let sum: f32 = frame.iter().zip(row).map(|(sample, w)| sample * w).sum();
        admit(sum / total)
    };
    for frame in samples.chunks_exact(channels) {
        left.push(weigh(frame, weights.0));
        right.push(weigh(frame, weights.1));
    }
}

/// What the encoder is promised: a finite number, not far beyond full scale.
fn admit(sample: f32) -> f32 {
    if sample.is_nan() {
        0.0
    } else {
        sample.clamp(
            -rusty_mp3::MAX_INPUT_AMPLITUDE,
            rusty_mp3::MAX_INPUT_AMPLITUDE,
        )
    }
}

struct Encoder {
    mp3: Box<Mp3Encode>,
    header: FrameHeader,
    stereo: bool,
    /// Samples that do not fill a frame yet.
    planes: [Vec<f32>; 2],
    /// What the frames so far lack to the bit rate, in bytes times the sampling rate: it becomes padding.
    owed: u64,
    last_ms: u64,
}

impl Encoder {
    fn new(rate_hz: u32, stereo: bool, kbps: u32) -> Option<Self> {
        let full = |halve: bool, kbps: u32| if halve { kbps / 2 } else { kbps };
        let kbps = full(rate_hz < 32_000, full(!stereo, kbps)).max(8);
        let header = rusty_mp3::encoder_header(rate_hz, if stereo { 2 } else { 1 }, kbps).ok()?;
        Some(Self {
            mp3: Box::new(Mp3Encode::new()),
            header,
            stereo,
            planes: [Vec::new(), Vec::new()],
            owed: 0,
            last_ms: 0,
        })
    }

    fn is(&self, rate_hz: u32, stereo: bool) -> bool {
        self.header.sample_rate == rate_hz && self.stereo == stereo
    }

    /// `dts_ms`: the time of the first sample in `planes`.
    fn push(&mut self, planes: &[Vec<f32>; 2], dts_ms: u64, out: &mut Vec<Frame>) {
        let [left, right] = &mut self.planes;
        // The clock is that of the newest frame, so nothing drifts apart.
        let waiting = left.len() as u64;
        left.extend_from_slice(&planes[0]);
        if self.stereo {
            right.extend_from_slice(&planes[1]);
        }
        let size = self.header.version.samples_per_frame();
        let rate = u64::from(self.header.sample_rate);
        let whole = self.planes[0].len() / size;
        for index in 0..whole as u64 {
            let at = index * size as u64;
            let ms = (dts_ms + at * 1000 / rate).saturating_sub(waiting * 1000 / rate);
            let from = index as usize * size;
            self.encode(from..from + size, ms, out);
        }
        for plane in &mut self.planes {
            plane.drain(..(whole * size).min(plane.len()));
        }
    }

    fn encode(&mut self, samples: std::ops::Range<usize>, ms: u64, out: &mut Vec<Frame>) {
        self.pad();
        let (Some(left), right) = (
            self.planes[0].get(samples.clone()),
            self.planes[1].get(samples),
        ) else {
            return;
        };
        let both = [left, right.unwrap_or_default()];
        let channels = if self.stereo { &both[..] } else { &both[..1] };
        let Ok(bytes) = self.mp3.encode_frame(&self.header, channels, None) else {
            return;
        };
        self.last_ms = self.last_ms.max(ms);
        let mut body = BytesMut::with_capacity(1 + bytes.len());
        body.put_u8(MP3_BODY);
        body.put_slice(&bytes);
        out.extend(Frame::parse(FrameKind::Audio, self.last_ms, body.freeze()));
    }

    /// ISO/IEC 11172-3 §2.4.2.3: where the bit rate is not a whole number of bytes a frame, some frames have one more.
    fn pad(&mut self) {
        let rate = u64::from(self.header.sample_rate);
        let samples = self.header.version.samples_per_frame() as u64;
        self.owed += samples / 8 * u64::from(self.header.bitrate_kbps) * 1000 % rate;
        self.header.padding = self.owed >= rate;
        if self.header.padding {
            self.owed -= rate;
        }
    }

    fn finish(mut self, out: &mut Vec<Frame>) {
        let size = self.header.version.samples_per_frame();
        if self.planes[0].is_empty() {
            return;
        }
        for plane in &mut self.planes {
            plane.resize(size, 0.0);
        }
        let frame_ms = size as u64 * 1000 / u64::from(self.header.sample_rate.max(1));
        self.encode(0..size, self.last_ms + frame_ms, out);
    }
}

#[cfg(test)]
mod tests;
