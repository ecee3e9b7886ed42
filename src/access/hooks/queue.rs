//! What is to be told to one back end, until it has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::config::HttpUrl;

use super::Hooks;

/// Callbacks that are told to one back end at a time. Asking has a bound of its own, so that a flood of farewells keeps nobody out.
const AT_ONCE: usize = 8;
/// The pause before a callback is tried again, and how far it grows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One callback.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) action: &'static str,
    pub(super) url: HttpUrl,
    pub(super) body: Bytes,
    pub(super) id: String,
    /// For one try.
    pub(super) timeout: Duration,
    /// No try begins after this.
    pub(super) until: Instant,
}

/// A queue for one back end.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Guards all; held for a push or a pop.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Told>,
    /// Taken out and not told yet.
    under_way: usize,
    /// A task works on it.
    worked_on: bool,
}

impl Queue {
    /// Puts one in; what had to go for it comes out: the oldest.
    pub(super) fn push(&self, told: Told, most: usize) -> Option<Told> {
        let mut state = self.state.lock();
        let dropped = if state.waiting.len() >= most.max(1) {
            state.waiting.pop_front()
        } else {
            None
        };
        state.waiting.push_back(told);
        dropped
    }

    /// Those that nobody was told yet.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.under_way
    }

    /// Whether a task has to be started.
    pub(super) fn begin_work(&self) -> bool {
        let mut state = self.state.lock();
        let begin = !state.worked_on && !state.waiting.is_empty();
        state.worked_on |= begin;
        begin
    }

    fn pop(&self) -> Option<Told> {
        let mut state = self.state.lock();
        let told = state.waiting.pop_front();
        state.under_way += usize::from(told.is_some());
        told
    }

    fn done(&self) {
        let mut state = self.state.lock();
        state.under_way = state.under_way.saturating_sub(1);
    }

    /// Whether the work is over.
    fn end_work(&self) -> bool {
        let mut state = self.state.lock();
        let end = state.waiting.is_empty();
        state.worked_on = !end;
        end
    }
}

/// Tells what is in the queue, until it is empty.
pub(super) async fn work(hooks: &Arc<Hooks>, queue: &Queue) {
    let mut tries = JoinSet::new();
    loop {
        while tries.len() < AT_ONCE {
            let Some(told) = queue.pop() else { break };
            let hooks = Arc::clone(hooks);
            tries.spawn(async move { deliver(&hooks, &told).await });
        }
        if tries.join_next().await.is_some() {
            queue.done();
        } else if queue.end_work() {
            return;
        }
    }
}

/// Tries until the back end has it, or it is too late.
async fn deliver(hooks: &Hooks, told: &Told) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begin = Instant::now();
        let why = match hooks
            .send(&told.url, &told.body, &told.id, told.timeout)
            .await
        {
            Ok(answer) if !again(answer.status) => {
                hooks.counters.hooks().told(begin.elapsed());
                if !answer.status.is_success() {
                    warn!(action = told.action, url = %told.url, status = answer.status.as_u16(), "a callback was not welcome");
                }
                return;
            }
            Ok(answer) => format!("status {}", answer.status.as_u16()),
            Err(error) => error.to_string(),
        };
        if Instant::now() + pause > told.until {
            hooks.counters.hooks().lost();
            warn!(action = told.action, url = %told.url, id = told.id, "a callback was given up: {why}");
            return;
        }
        hooks.counters.hooks().retried();
        debug!(action = told.action, url = %told.url, "a callback is tried again in {pause:?}: {why}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether it may do better another time. What a back end says to what it is told does not matter, as in SRS.
fn again(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: usize) -> Told {
        Told {
            action: "on_stop",
            url: "http://a.example/".parse().unwrap(),
            body: Bytes::new(),
            id: id.to_string(),
            timeout: Duration::from_secs(1),
            until: Instant::now(),
        }
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let queue = Queue::default();
        let dropped: Vec<_> = (0..5).filter_map(|id| queue.push(told(id), 3)).collect();
        let ids = |all: &[Told]| all.iter().map(|t| t.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&dropped), ["0", "1"]);
        assert_eq!(queue.len(), 3);
        let left: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(ids(&left), ["2", "3", "4"]);
        assert_eq!(queue.len(), 3);
        for _ in 0..3 {
            queue.done();
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn one_task_works_at_a_time() {
        let queue = Queue::default();
        assert!(!queue.begin_work());
        queue.push(told(0), 3);
        assert!(queue.begin_work());
        assert!(!queue.begin_work());
        assert!(!queue.end_work());
        assert!(queue.pop().is_some());
        assert!(queue.end_work());
        queue.push(told(1), 3);
        assert!(queue.begin_work());
    }
}
