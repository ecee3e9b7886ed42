//! An independent reader: the crate mpeg2ts-reader.

use super::*;
use mpeg2ts_reader::demultiplex::{self, FilterRequest};
use mpeg2ts_reader::pes::{self, PesContents, PtsDts};
use mpeg2ts_reader::{StreamType, demux_context, packet, packet_filter_switch};
use std::cell::RefCell;
use std::rc::Rc;

packet_filter_switch! {
    Switch<Context> {
        Pes: pes::PesPacketFilter<Context, Consumer>,
        Pat: demultiplex::PatPacketFilter<Context>,
        Pmt: demultiplex::PmtPacketFilter<Context>,
        Null: demultiplex::NullPacketFilter<Context>,
    }
}
demux_context!(Context, Switch);

/// What one PID gave.
#[derive(Debug, Default, Clone)]
struct Found {
    stream_type: Option<StreamType>,
    /// PTS, DTS.
    times: Vec<(u64, u64)>,
    bytes: Vec<u8>,
    errors: usize,
}

type Report = Rc<RefCell<std::collections::BTreeMap<u16, Found>>>;

thread_local! {
    /// The macro's context has no place for data of ours.
    static REPORT: Report = Report::default();
}

struct Consumer(u16);

impl Consumer {
    fn found(&self, note: impl FnOnce(&mut Found)) {
        REPORT.with(|report| note(report.borrow_mut().entry(self.0).or_default()));
    }
}

impl Context {
    fn do_construct(&mut self, request: FilterRequest<'_, '_>) -> Switch {
        match request {
            FilterRequest::ByPid(packet::Pid::PAT) => {
                Switch::Pat(demultiplex::PatPacketFilter::default())
            }
            FilterRequest::Pmt {
                pid,
                program_number,
            } => Switch::Pmt(demultiplex::PmtPacketFilter::new(pid, program_number)),
            FilterRequest::ByStream {
                stream_type,
                stream_info,
                ..
            } => {
                let consumer = Consumer(stream_info.elementary_pid().into());
                consumer.found(|found| found.stream_type = Some(stream_type));
                Switch::Pes(pes::PesPacketFilter::new(consumer))
            }
            FilterRequest::ByPid(_) | FilterRequest::Nit { .. } => {
                Switch::Null(demultiplex::NullPacketFilter::default())
            }
        }
    }
}

impl pes::ElementaryStreamConsumer<Context> for Consumer {
    fn start_stream(&mut self, _: &mut Context) {}

    fn begin_packet(&mut self, _: &mut Context, header: pes::PesHeader<'_>) {
        self.found(|found| match header.contents() {
            PesContents::Parsed(Some(parsed)) => {
                match parsed.pts_dts() {
                    Ok(PtsDts::PtsOnly(Ok(pts))) => found.times.push((pts.value(), pts.value())),
                    Ok(PtsDts::Both {
                        pts: Ok(pts),
                        dts: Ok(dts),
                    }) => found.times.push((pts.value(), dts.value())),
                    _ => found.errors += 1,
                }
                found.bytes.extend_from_slice(parsed.payload());
            }
            _ => found.errors += 1,
        });
    }

    fn continue_packet(&mut self, _: &mut Context, data: &[u8]) {
        self.found(|found| found.bytes.extend_from_slice(data));
    }

    fn end_packet(&mut self, _: &mut Context) {}

    fn continuity_error(&mut self, _: &mut Context) {
        self.found(|found| found.errors += 1);
    }
}

/// What the crate finds in a stream.
fn judge(stream: &[u8]) -> std::collections::BTreeMap<u16, Found> {
    REPORT.with(|report| report.borrow_mut().clear());
    let mut context = Context::new();
    let mut demux = demultiplex::Demultiplex::new(&mut context);
    demux.push(&mut context, stream);
    REPORT.with(|report| report.borrow().clone())
}

#[test]
fn it_reads_what_we_write() {
    let mut mux = mux(&[video(0, H264_HEADER)]);
    let mut ours = Reader::new();
    let mut stream = BytesMut::new();
    for frame in 0..500u64 {
        let dts = frame * 40;
        // Audio shows up late, and changes its codec.
        let sounds = match frame {
            0..50 => vec![],
            50 => vec![audio(dts, AAC_HEADER)],
            51..300 => vec![sound(dts), sound(dts + 21)],
            300 => vec![audio(dts, OPUS_HEADER)],
            _ => vec![audio(dts, OPUS_FRAME), audio(dts + 20, OPUS_FRAME)],
        };
        let slice = "41".repeat(frame as usize * 7 % 900 + 1);
        let size = slice.len() / 2;
        let key = if frame % 50 == 0 { "17" } else { "27" };
        let picture = video(dts, &format!("{key} 01 000050 {size:08x} {slice}"));
        for frame in std::iter::once(picture).chain(sounds) {
            let mut out = BytesMut::new();
            mux.write(&frame, &mut out);
            ours.feed(&out);
            stream.extend_from_slice(&out);
        }
    }
    assert_eq!(mux.dropped(), 0);
    let theirs = judge(&stream);
    assert_eq!(
        theirs.keys().copied().collect::<Vec<_>>(),
        [VIDEO_PID, AUDIO_PID]
    );
    for (pid, found) in &theirs {
        assert_eq!(found.errors, 0);
        assert!(found.bytes == ours.stream(*pid));
        let times = ours.pes.iter().filter(|pes| pes.pid == *pid);
        assert!(
            found
                .times
                .iter()
                .copied()
                .eq(times.map(|pes| (pes.pts, pes.dts)))
        );
    }
    assert_eq!(theirs[&VIDEO_PID].stream_type, Some(StreamType::H264));
    assert_eq!(theirs[&VIDEO_PID].times.len(), 500);
}
