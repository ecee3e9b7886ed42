//! A publisher that plays a fixture in a loop at its own pace, over the small RTMP client: what was sent is known to the
//! byte, and its timestamps are the test's to choose.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::flv::{AUDIO, Flv, SCRIPT, Tag, VIDEO, assert_run_of};
use super::rtmp::Client;
use super::server::Server;

/// What is published, and how.
#[derive(Clone)]
pub struct Plan {
    script: Option<Tag>,
    headers: Vec<Tag>,
    frames: Vec<Tag>,
    /// Length of one round of the loop.
    round_ms: u64,
    /// Timestamp of the first frame.
    pub start_ms: u64,
    /// Audio, its header included, is sent only from that time of the stream on.
    pub audio_from_ms: u64,
    /// Ends by itself after that time of the stream.
    pub stop_ms: u64,
}

impl Plan {
    /// All of a fixture.
    pub fn of(fixture: &Path) -> Plan {
        let flv = Flv::read(&std::fs::read(fixture).expect("a fixture")).expect("a good fixture");
        let frames: Vec<Tag> = flv
            .tags
            .iter()
            .filter(|tag| tag.is_coded())
            .cloned()
            .collect();
        // Fixtures last full seconds; what an encoder's delay pushes beyond the last one would overlap the next round.
        let round_ms = u64::from(super::fixtures::LENGTH_S) * 1000;
        let frames: Vec<Tag> = frames
            .into_iter()
            .filter(|tag| u64::from(tag.dts) < round_ms)
            .collect();
        Plan {
            script: flv.tags.iter().find(|tag| tag.kind == SCRIPT).cloned(),
            headers: flv
                .tags
                .iter()
                .filter(|tag| tag.is_header())
                .cloned()
                .collect(),
            frames,
            round_ms,
            start_ms: 0,
            audio_from_ms: 0,
            stop_ms: u64::MAX,
        }
    }

    /// Only the tracks of one kind, and no onMetaData that promises another.
    pub fn only(mut self, kind: u8) -> Plan {
        self.headers.retain(|tag| tag.kind == kind);
        self.frames.retain(|tag| tag.kind == kind);
        self.script = None;
        self
    }

    /// Without onMetaData.
    pub fn without_metadata(mut self) -> Plan {
        self.script = None;
        self
    }

    pub fn starting_at(mut self, start_ms: u64) -> Plan {
        self.start_ms = start_ms;
        self
    }

    pub fn audio_from(mut self, ms: u64) -> Plan {
        self.audio_from_ms = ms;
        self
    }

    /// Pictures of at least that many bytes, padded with filler data that decoders skip.
    pub fn with_pictures_of(mut self, bytes: usize) -> Plan {
        for frame in self.frames.iter_mut().filter(|frame| frame.kind == VIDEO) {
            let missing = bytes.saturating_sub(frame.body.len() + 6);
            // H.264 7.3.2.7: a NAL unit of type 12, behind its length as AVCC has it.
            let size = u32::try_from(missing + 2).expect("a small picture");
            frame.body.extend_from_slice(&size.to_be_bytes());
            frame.body.push(0x0c);
            frame.body.extend(std::iter::repeat_n(0xff, missing));
            frame.body.push(0x80);
        }
        self
    }

    /// Each tag replaced by some, at its own time.
    pub fn mapped(mut self, mut change: impl FnMut(&Tag) -> Vec<Tag>) -> Plan {
        self.headers = self.headers.iter().flat_map(&mut change).collect();
        self.frames = self.frames.iter().flat_map(&mut change).collect();
        self
    }

    /// From that time of the first round on, another fixture: headers first. Of the other's, a round is not finished.
    pub fn then_at(mut self, ms: u32, other: Plan) -> Plan {
        self.frames.retain(|frame| frame.dts < ms);
        let later = other.headers.iter().chain(&other.frames);
        let moved = later.map(|tag| Tag::new(tag.kind, tag.dts + ms, &tag.body));
        self.frames
            .extend(moved.filter(|tag| u64::from(tag.dts) < self.round_ms));
        self
    }

    pub fn for_ms(mut self, ms: u64) -> Plan {
        self.stop_ms = ms;
        self
    }
}

/// A publisher at work. Its connection is closed when it is dropped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    gently: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Tag>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Feed {
    /// Publishes `app/name` to a server; the claim is held when this returns.
    #[track_caller]
    pub fn start(server: &Server, app: &str, name: &str, plan: Plan) -> Feed {
        let address = server.address("rtmp");
        Feed::start_as(address, app, &format!("rtmp://{address}/{app}"), name, plan)
    }

    /// As [`Feed::start`], with a tcUrl of its own, whose host is the vhost.
    #[track_caller]
    pub fn start_as(address: SocketAddr, app: &str, tc_url: &str, name: &str, plan: Plan) -> Feed {
        let mut client = Client::connect_as(address, app, tc_url).expect("the server talks RTMP");
        let code = client.publish(name).expect("an answer to publish");
        assert_eq!(code, "NetStream.Publish.Start", "publish of {app}/{name}");
        Feed::run(client, name, plan)
    }

    /// Feeds a connection that has published.
    pub fn run(mut client: Client, name: &str, plan: Plan) -> Feed {
        let stop = Arc::new(AtomicBool::new(false));
        let gently = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let name = name.to_owned();
        let (stop2, gently2, sent2) = (Arc::clone(&stop), Arc::clone(&gently), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let result = play(&mut client, &plan, &stop2, &sent2);
            if result.is_ok() && gently2.load(Ordering::Relaxed) {
                client.unpublish(&name)?;
            }
            result
        });
        Feed {
            stop,
            gently,
            sent,
            thread: Some(thread),
        }
    }

    /// What was sent so far, without onMetaData. Timestamps are the low 32 bits.
    pub fn sent(&self) -> Vec<Tag> {
        self.sent
            .lock()
            .expect("the publisher did not panic")
            .clone()
    }

    /// What a player was given of a kind is what was sent, from one frame on and without a gap: see [`assert_run_of`].
    #[track_caller]
    pub fn assert_gave(&self, flv: &Flv, kind: u8) -> (usize, usize) {
        let all = self.sent();
        let sent: Vec<&Tag> = all
            .iter()
            .filter(|tag| tag.kind == kind && tag.is_coded())
            .collect();
        assert_run_of(&flv.frames(kind), &sent)
    }

    /// The decoder configurations that were sent so far.
    pub fn headers(&self) -> Vec<Tag> {
        self.sent().into_iter().filter(Tag::is_header).collect()
    }

    /// True while the server takes what is sent.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Ends as a broadcaster does that is told to stop.
    pub fn finish(mut self) -> Vec<Tag> {
        self.gently.store(true, Ordering::Relaxed);
        self.close();
        self.sent()
    }

    /// Ends as a broadcaster does whose machine dies: the connection closes without a word.
    pub fn abandon(mut self) -> Vec<Tag> {
        self.close();
        self.sent()
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

fn play(
    client: &mut Client,
    plan: &Plan,
    stop: &AtomicBool,
    sent: &Mutex<Vec<Tag>>,
) -> io::Result<()> {
    let begin = Instant::now();
    let send = |client: &mut Client, tag: &Tag, at_ms: u64| -> io::Result<()> {
        // The wire has 32 bits; a longer stream goes round.
        let dts = (plan.start_ms + at_ms) as u32;
        // Noted first, so that a frame that has come has always been noted.
        sent.lock()
            .expect("no reader panics")
            .push(Tag::new(tag.kind, dts, &tag.body));
        client.media(tag.kind, dts, &tag.body)
    };
    if let Some(script) = &plan.script {
        client.media(SCRIPT, plan.start_ms as u32, &set_data_frame(&script.body))?;
    }
    for header in plan
        .headers
        .iter()
        .filter(|tag| tag.kind == VIDEO || plan.audio_from_ms == 0)
    {
        send(client, header, 0)?;
    }
    let mut audio_told = plan.audio_from_ms == 0;
    for round in 0.. {
        for frame in &plan.frames {
            let at_ms = round * plan.round_ms + u64::from(frame.dts);
            if at_ms >= plan.stop_ms {
                return Ok(());
            }
            while let Some(left) = Duration::from_millis(at_ms).checked_sub(begin.elapsed()) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                std::thread::sleep(left.min(Duration::from_millis(50)));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if frame.kind == AUDIO {
                if at_ms < plan.audio_from_ms {
                    continue;
                }
                if !audio_told {
                    audio_told = true;
                    for header in plan.headers.iter().filter(|tag| tag.kind == AUDIO) {
                        send(client, header, at_ms)?;
                    }
                }
            }
            send(client, frame, at_ms)?;
        }
    }
    Ok(())
}

/// `@setDataFrame` before a script tag's body, as publishers send it.
pub fn set_data_frame(body: &[u8]) -> Vec<u8> {
    let mut out = super::amf::encode(&[super::amf::Amf::Text("@setDataFrame")]);
    out.extend_from_slice(body);
    out
}
