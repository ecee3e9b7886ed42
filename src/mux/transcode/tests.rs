use rusty_aac::{AacEncoder, AacEncoderConfig, audio_specific_config_bytes};
use rusty_mp3::{Mp3Decoder, header};

use super::*;

/// AAC of a 1 kHz tone at -12 dB: the config's tag body, and frames with their times.
fn tone(rate_hz: u32, channels: u16, seconds: f32) -> Vec<Frame> {
    let mut encoder = AacEncoder::new(AacEncoderConfig {
        bitrate_bps: 64_000 * u32::from(channels),
        ..AacEncoderConfig::default()
    });
    let count = (rate_hz as f32 * seconds) as usize;
    let mut pcm = Vec::new();
    for n in 0..count {
        let phase = n as f32 * 1000.0 * std::f32::consts::TAU / rate_hz as f32;
        pcm.extend(std::iter::repeat_n(0.25 * phase.sin(), channels.into()));
    }
    encoder.push_pcm(&pcm, channels, rate_hz).unwrap();
    encoder.finish();
    let config = audio_specific_config_bytes(rate_hz, channels);
    let mut frames = vec![body(0, 0, &config)];
    let mut at = 0;
    while let Ok(packet) = encoder.next_packet() {
        frames.push(body(1, at * 1000 / u64::from(rate_hz), &packet.data));
        at += 1024;
    }
    frames
}

/// `packet`: 0 for a config, 1 for a frame.
fn body(packet: u8, dts_ms: u64, data: &[u8]) -> Frame {
    let bytes = [&[0xaf, packet], data].concat();
    Frame::parse(FrameKind::Audio, dts_ms, bytes.into()).unwrap()
}

fn convert(transcoder: &mut Transcoder, frames: &[Frame]) -> Vec<Frame> {
    let mut out = Vec::new();
    for frame in frames {
        transcoder.push(frame, &mut out);
    }
    out
}

/// What a decoder makes of MP3 frames: rate, channels, and the first channel.
fn listen(frames: &[Frame]) -> (u32, u16, Vec<f32>) {
    let mut decoder = Mp3Decoder::new();
    for frame in frames {
        decoder.push(&frame.payload[1..]);
    }
    decoder.flush();
    let (mut shape, mut samples) = ((0, 0), Vec::new());
    while let Ok(sound) = decoder.next_frame() {
        shape = (sound.sample_rate, sound.channels);
        let channels = usize::from(sound.channels);
        samples.extend(sound.samples.iter().step_by(channels));
    }
    (shape.0, shape.1, samples)
}

/// The first channel of what was sent, as an AAC decoder has it: what an encoder made of a tone is not quite the tone.
fn heard(frames: &[Frame]) -> Vec<f32> {
    let mut aac = AacDecoder::with_config_bytes(&frames[0].payload[2..]).unwrap();
    let mut samples = Vec::new();
    for frame in &frames[1..] {
        let sound = aac.decode(&frame.payload[2..], None).unwrap();
        samples.extend(sound.samples.iter().step_by(sound.channels.into()));
    }
    samples
}

/// In dB, of the middle.
fn level(samples: &[f32]) -> f32 {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let square: f32 = middle.iter().map(|s| s * s).sum::<f32>() / middle.len() as f32;
    10.0 * square.log10()
}

/// How often the sign changes to plus, a second.
fn pitch(samples: &[f32], rate_hz: u32) -> f32 {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let rises = middle.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0);
    rises.count() as f32 * rate_hz as f32 / middle.len() as f32
}

#[test]
fn each_rate_of_mp3_keeps_level_pitch_and_length() {
    for rate_hz in [
        48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    ] {
        for channels in [1, 2] {
            let sent = tone(rate_hz, channels, 2.0);
            let frames = convert(&mut Transcoder::new(128), &sent);
            let (rate, came, samples) = listen(&frames);
            let what = format!("{rate_hz} Hz, {channels} channels");
            assert_eq!((rate, came), (rate_hz, channels), "{what}");
            let level = level(&samples) - level(&heard(&sent));
            assert!(level.abs() < 0.1, "{what}: {level} dB");
            let pitch = pitch(&samples, rate_hz);
            assert!((pitch - 1000.0).abs() < 2.0, "{what}: {pitch} Hz");
            let all = (sent.len() - 1) * 1024;
            let lacks = all.checked_sub(samples.len()).expect("no more than came");
            assert!(lacks < 1152, "{what}: {lacks} samples are missing");
            // In time: each frame begins where the one before ends, to the millisecond.
            let size = if rate_hz < 32_000 { 576 } else { 1152 };
            for (index, frame) in frames.iter().enumerate() {
                let expected = index as u64 * size * 1000 / u64::from(rate_hz);
                assert!(frame.dts_ms.abs_diff(expected) <= 1, "{what}: {index}");
            }
        }
    }
}

#[test]
fn the_bit_rate_is_as_asked_and_each_frame_stands_alone() {
    for (rate_hz, channels, asked, given) in [
        (44_100, 2, 128, 128),
        (44_100, 1, 128, 64),
        (24_000, 2, 128, 64),
        (22_050, 1, 128, 32),
        (48_000, 2, 320, 320),
        (48_000, 2, 32, 32),
    ] {
        let frames = convert(&mut Transcoder::new(asked), &tone(rate_hz, channels, 3.0));
        let bytes: usize = frames.iter().map(|frame| frame.payload.len() - 1).sum();
        let size = if rate_hz < 32_000 { 576.0 } else { 1152.0 };
        let seconds = frames.len() as f32 * size / rate_hz as f32;
        let kbps = bytes as f32 * 0.008 / seconds;
        assert!((kbps - given as f32).abs() < 0.2, "{kbps} for {given}");
        for frame in &frames {
            let head = frame.payload[1..5].try_into().unwrap();
            let head = header::FrameHeader::parse(head).unwrap();
            assert_eq!(head.frame_size(), frame.payload.len() - 1);
            // main_data_begin, behind the header: 9 bits, or 8 in the lower half of the standards.
            let reservoir = (frame.payload[5], frame.payload[6] >> 7);
            assert_eq!(reservoir.0, 0);
            assert!(rate_hz < 32_000 || reservoir.1 == 0);
        }
    }
}

#[test]
fn what_is_supported() {
    let config = |rate, channels| audio_specific_config_bytes(rate, channels);
    for rate in [48_000, 44_100, 22_050, 8000] {
        assert_eq!(Transcoder::supports(&config(rate, 2)), Ok(()));
    }
    assert_eq!(Transcoder::supports(&config(48_000, 6)), Ok(()));
    assert_eq!(
        Transcoder::supports(&config(96_000, 2)).map_err(|why| why.to_string()),
        Err("MP3 has no sampling rate of 96000 Hz".to_owned())
    );
    // 7.1.
    assert_eq!(
        Transcoder::supports(&[0x11, 0xb8]),
        Err(TranscodeError::Channels)
    );
    // xHE-AAC; and a config that ends too early.
    for broken in [&[0xf9, 0x46, 0x40, 0x00][..], &[0x12]] {
        assert_eq!(Transcoder::supports(broken), Err(TranscodeError::Profile));
    }
    // HE-AAC, 24 kHz in the core: what comes out has twice that.
    assert_eq!(Transcoder::supports(&[0x2b, 0x11, 0x88, 0x00]), Ok(()));
}

#[test]
fn another_config_is_another_stream_of_mp3() {
    let mut transcoder = Transcoder::new(128);
    let mut frames = tone(48_000, 2, 0.5);
    // The same config again changes nothing.
    frames.push(frames[0].clone());
    let first = convert(&mut transcoder, &frames);
    let second = convert(&mut transcoder, &tone(24_000, 1, 0.5));
    let rates: Vec<u32> = first.iter().chain(&second).map(rate_of).collect();
    let changes = rates.windows(2).filter(|w| w[0] != w[1]).count();
    assert_eq!(
        (rates[0], rates[rates.len() - 1], changes),
        (48_000, 24_000, 1)
    );
    // The rest of the old one was filled up.
    let old = rates.iter().filter(|rate| **rate == 48_000).count();
    assert!(old * 1152 >= (frames.len() - 2) * 1024, "{old} frames");
    // One that cannot be converted gives nothing, until another comes.
    transcoder.push(&body(0, 0, &[0xf9, 0x46, 0x40]), &mut Vec::new());
    assert!(convert(&mut transcoder, &tone(48_000, 2, 0.2)[1..]).is_empty());
    assert!(!convert(&mut transcoder, &tone(48_000, 2, 0.2)).is_empty());
}

fn rate_of(frame: &Frame) -> u32 {
    let head = frame.payload[1..5].try_into().unwrap();
    header::FrameHeader::parse(head).unwrap().sample_rate
}

#[test]
fn mp3_passes_through() {
    let mut transcoder = Transcoder::new(128);
    convert(&mut transcoder, &tone(48_000, 2, 0.1));
    let mp3 = Bytes::from_static(b"\x2f\xff\xfb\x90\x64 and so on");
    let mp3 = Frame::parse(FrameKind::Audio, 7, mp3).unwrap();
    let out = convert(&mut transcoder, std::slice::from_ref(&mp3));
    assert_eq!(out.last(), Some(&mp3));
    assert!(out.len() <= 2, "what was left over comes before it");
}

#[test]
fn what_cannot_be_decoded_is_silence_of_its_length() {
    let mut sent = tone(48_000, 2, 1.0);
    let whole = convert(&mut Transcoder::new(128), &sent).len();
    for index in [10, 11, 12, 30] {
        let half = sent[index].payload.len() / 2;
        sent[index] = body(1, sent[index].dts_ms, &sent[index].payload[2..half]);
    }
    let mut transcoder = Transcoder::new(128);
    let frames = convert(&mut transcoder, &sent);
    assert_eq!((frames.len(), transcoder.broken()), (whole, 4));
}

#[test]
fn five_channels_and_more_become_two() {
    let front = |channels: usize, at: usize| {
        let mut planes = [Vec::new(), Vec::new()];
        let mut samples = vec![0.0; channels];
        samples[at] = 0.5;
        mix(&samples, channels, &mut planes);
        (planes[0][0], planes[1].first().copied())
    };
    assert_eq!(front(1, 0), (0.5, None));
    assert_eq!(front(2, 1), (0.0, Some(0.5)));
    for channels in 3..=6 {
        let (left, right) = front(channels, 2);
        assert_eq!(Some(left), right, "the centre is heard on both sides");
        // All at full scale is full scale.
        let mut planes = [Vec::new(), Vec::new()];
        mix(&vec![1.0; channels], channels, &mut planes);
        assert!(planes[0][0] <= 1.0001, "{planes:?}");
    }
    assert_eq!(
        front(6, 3),
        (0.0, Some(0.0)),
        "low frequencies are left out"
    );
    let mut planes = [Vec::new(), Vec::new()];
    mix(&[f32::NAN, f32::INFINITY], 2, &mut planes);
    assert_eq!((planes[0][0], planes[1][0]), (0.0, 8.0));
}
