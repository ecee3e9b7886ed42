//! Many publishers: each sends a feed of its own at its own pace.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event as Ready;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use serde::Serialize;

use crate::Failure;
use crate::feed::Feed;
use crate::link::{Link, Side};
use crate::meter::{Attendance, Cost, Meter, per};
use crate::progress::Progress;
use crate::stats::{Histogram, Quantiles};
use crate::target::Target;
use crate::wire::{Event, Role, Trouble, Wire};

/// Between the last publisher and the measurement: a GOP or two.
const SETTLE: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_millis(20);
const EVENTS: usize = 1024;
const BUFFER: usize = 16 * 1024;

/// What is to be published, and how.
pub(crate) struct Plan {
    /// One for each publisher.
    pub(crate) targets: Vec<Target>,
    pub(crate) feed: Feed,
    /// From the first connection to the last.
    pub(crate) ramp: Duration,
    /// How long is measured once all publish; nothing: until it is told to stop.
    pub(crate) duration: Option<Duration>,
    /// How long after the ramp a publisher may take until it may publish.
    pub(crate) patience: Duration,
    pub(crate) tls: Arc<ClientConfig>,
    /// The server's process.
    pub(crate) pid: Option<u32>,
}

/// What the publishers met.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tool: &'static str,
    pub(crate) url: String,
    pub(crate) publishers: Publishers,
    /// How late tags were sent, by this tool's fault.
    pub(crate) late_ms: Quantiles,
    /// In the measured time, by all.
    pub(crate) bytes: u64,
    /// Bits a second, of each for as long as it published.
    pub(crate) bitrate_per_publisher: f64,
    /// How many publishers ended for which reason.
    pub(crate) errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(crate) cost: Cost,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Publishers {
    pub(crate) asked: u64,
    /// At the end.
    pub(crate) publishing: u64,
    /// Before they could publish.
    pub(crate) failed: u64,
    /// After that.
    pub(crate) left: u64,
}

impl Report {
    /// Whether all published to the end.
    pub(crate) fn is_good(&self) -> bool {
        self.publishers.publishing == self.publishers.asked
    }
}

/// Told from outside.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// End properly.
    pub(crate) stop: AtomicBool,
    /// All publish.
    pub(crate) ready: AtomicBool,
}

struct Publisher {
    link: Link,
    wire: Wire,
    feed: Feed,
    /// When its stream began: once it may publish.
    since: Option<Instant>,
}

struct Run<'a> {
    plan: &'a Plan,
    poll: Poll,
    start: Instant,
    publishers: Vec<Option<Publisher>>,
    counts: Publishers,
    attendance: Attendance,
    errors: BTreeMap<String, u64>,
    bytes: u64,
    late: Histogram,
    measuring: bool,
    out: Vec<u8>,
}

/// Publishes. Blocks until the end.
pub(crate) fn run(
    plan: &Plan,
    control: &Control,
    progress: &mut Progress,
) -> Result<Report, Failure> {
    let mut meter = Meter::new(plan.pid);
    let mut run = Run {
        plan,
        poll: Poll::new().map_err(Failure::Poll)?,
        start: Instant::now(),
        publishers: Vec::new(),
        counts: Publishers {
            asked: plan.targets.len() as u64,
            ..Publishers::default()
        },
        attendance: Attendance::default(),
        errors: BTreeMap::new(),
        bytes: 0,
        late: Histogram::default(),
        measuring: false,
        out: Vec::new(),
    };
    let mut events = Events::with_capacity(EVENTS);
    let mut ready_since: Option<Instant> = None;
    let mut measured = Duration::ZERO;
    loop {
        run.let_come();
        let next = run.send_due();
        let wait = next.saturating_duration_since(Instant::now()).min(WAIT);
        match run.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(Failure::Poll)?,
        }
        for ready in &events {
            run.turn(ready);
        }
        let now = Instant::now();
        let counts = run.counts;
        progress.tell(&format!(
            "{}: {} of {} publish, {} failed, {} left, {:.1} MB",
            if run.measuring {
                "measuring"
            } else {
                "joining"
            },
            run.attendance.present(),
            counts.asked,
            counts.failed,
            counts.left,
            run.bytes as f64 / 1e6
        ));
        let all = run.attendance.present() + counts.failed + counts.left >= counts.asked;
        if ready_since.is_none() && (all || run.start.elapsed() > plan.ramp + plan.patience) {
            ready_since = Some(now);
            control.ready.store(true, Ordering::Relaxed);
        }
        if let Some(since) = ready_since {
            let settle = plan
                .duration
                .map_or(SETTLE, |duration| SETTLE.min(duration));
            if !run.measuring && now - since >= settle {
                run.measuring = true;
                run.bytes = 0;
                meter.begin();
                run.attendance.measure(Instant::now());
            }
            measured = (now - since).saturating_sub(settle);
        }
        let over = plan
            .duration
            .is_some_and(|duration| run.measuring && measured >= duration);
        let nobody = ready_since.is_some() && run.attendance.present() == 0;
        if over || nobody || control.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    progress.clear();
    let published = run.attendance.client_seconds(Instant::now());
    run.counts.publishing = run.attendance.present();
    let cost = meter.end(run.counts.publishing, published, run.bytes);
    run.finish();
    Ok(Report {
        tool: "publish",
        url: plan
            .targets
            .first()
            .map_or_else(String::new, |t| t.url.clone()),
        publishers: run.counts,
        late_ms: run.late.quantiles(),
        bytes: run.bytes,
        bitrate_per_publisher: per(run.bytes as f64 * 8.0, published),
        errors: run.errors,
        cost,
    })
}

impl Run<'_> {
    /// Begins the connections that are due.
    fn let_come(&mut self) {
        let all = self.plan.targets.len();
        while let Some(target) = self.plan.targets.get(self.publishers.len()) {
            let share = self.publishers.len() as f64 / all as f64;
            if self.start.elapsed() < self.plan.ramp.mul_f64(share) {
                return;
            }
            let publisher = self.connect(target);
            let publisher = publisher.map_err(|trouble| self.failed(&trouble));
            self.publishers.push(publisher.ok());
        }
    }

    fn connect(&self, target: &Target) -> Result<Publisher, Trouble> {
        let (wire, hello) = Wire::new(std::slice::from_ref(target), Role::Publish)?;
        let mut link = Link::connect(target, &self.plan.tls)?;
        let token = Token(self.publishers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut link.socket, token, interest)?;
        link.send(&hello)?;
        Ok(Publisher {
            link,
            wire,
            feed: self.plan.feed.clone(),
            since: None,
        })
    }

    fn failed(&mut self, trouble: &Trouble) {
        self.counts.failed += 1;
        *self.errors.entry(trouble.0.clone()).or_default() += 1;
    }

    /// Sends what is due; returns when something is due next.
    fn send_due(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + WAIT;
        for index in 0..self.publishers.len() {
            let Some(Some(publisher)) = self.publishers.get_mut(index) else {
                continue;
            };
            let Some(since) = publisher.since else {
                continue;
            };
            self.out.clear();
            while since + publisher.feed.due() <= now {
                let due = since + publisher.feed.due();
                let tag = publisher.feed.next();
                if self.measuring {
                    self.late.record(now.saturating_duration_since(due));
                }
                publisher.wire.send(&tag, &mut self.out);
            }
            next = next.min(since + publisher.feed.due());
            if self.out.is_empty() {
                continue;
            }
            self.bytes += self.out.len() as u64;
            if let Err(error) = publisher.link.send(&self.out) {
                self.lose(index, &Trouble::from(error));
            }
        }
        next
    }

    fn turn(&mut self, ready: &Ready) {
        let index = ready.token().0;
        let Some(Some(publisher)) = self.publishers.get_mut(index) else {
            return;
        };
        if let Err(trouble) = publisher.turn(ready, &self.attendance) {
            self.lose(index, &trouble);
        }
    }

    fn lose(&mut self, index: usize, trouble: &Trouble) {
        let Some(publisher) = self.publishers.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.failed(trouble);
        if publisher.since.is_some() {
            self.counts.failed -= 1;
            self.counts.left += 1;
            self.attendance.leave(Instant::now());
        }
    }

    /// Ends all publishes properly, as far as the sockets take it.
    fn finish(&mut self) {
        for publisher in self.publishers.iter_mut().flatten() {
            self.out.clear();
            publisher.wire.finish(&mut self.out);
            let _ = publisher.link.send(&self.out);
        }
    }
}

impl Publisher {
    fn turn(&mut self, ready: &Ready, attendance: &Attendance) -> Result<(), Trouble> {
        let closing = ready.is_read_closed() || ready.is_error();
        if ready.is_writable() {
            self.link.flush()?;
            // HTTP says nothing before the end: it may be sent to once it is connected.
            if matches!(self.wire, Wire::Http(_)) {
                self.begin(attendance);
            }
        }
        if !(ready.is_readable() || closing) {
            return Ok(());
        }
        let mut buffer = [0; BUFFER];
        let (mut out, mut may) = (Vec::new(), false);
        let Self { link, wire, .. } = self;
        let side: Result<Side, Trouble> = link.read(closing, &mut buffer, |came| {
            wire.feed(came, &mut out, &mut |_, event| {
                may |= matches!(event, Event::MayPublish);
            })
        });
        if side? == Side::Closed {
            return Err(Trouble::closed());
        }
        if !out.is_empty() {
            self.link.send(&out)?;
        }
        if may {
            self.begin(attendance);
        }
        Ok(())
    }

    fn begin(&mut self, attendance: &Attendance) {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            attendance.come(now);
        }
    }
}
