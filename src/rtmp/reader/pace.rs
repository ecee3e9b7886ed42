//! When publishers are read whose streams nobody reads.
//!
//! Such a publisher is read in turns: what came meanwhile waits in its socket, where it must have room, or its encoder would be held up.

use std::time::{Duration, Instant};

/// The grain of turns.
const SLOT: Duration = Duration::from_millis(10);
/// As many as make the longest wait, which is `publish.lazy_read`'s.
const SLOTS: usize = 100;
/// What may come between two turns, in bytes: half of the window that Linux gives a new connection.
const MOST_BYTES: u64 = 32 * 1024;

/// How many slots a publisher may wait that sent `bytes` in the time `of`, but not more than `most`. None: it is to be read at once.
pub(super) fn wait(bytes: u64, of: Duration, most: Duration) -> Option<usize> {
    let most = usize::try_from(most.as_millis() / SLOT.as_millis()).unwrap_or(SLOTS);
    let slots = u64::try_from(of.as_millis() / SLOT.as_millis()).unwrap_or(u64::MAX);
    let filling = MOST_BYTES.saturating_mul(slots) / bytes.max(1);
    let wait = most
        .min(SLOTS)
        .min(usize::try_from(filling).unwrap_or(SLOTS));
    // From slot to slot would be no less than at once.
    (wait > 1).then_some(wait)
}

/// Whose turn it is: a wheel of slots.
pub(super) struct Turns {
    slots: Vec<Vec<usize>>,
    /// The slot that is next.
    hand: usize,
    /// And when it is.
    next: Instant,
    waiting: usize,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS],
            hand: 0,
            next: now + SLOT,
            waiting: 0,
        }
    }

    /// When somebody's turn may be.
    pub(super) fn next(&self) -> Option<Instant> {
        (self.waiting > 0).then_some(self.next)
    }

    /// Lets `token` wait for that many slots.
    pub(super) fn put(&mut self, token: usize, wait: usize, now: Instant) {
        if self.waiting == 0 {
            self.next = now + SLOT;
        }
        let at = (self.hand + wait.clamp(1, SLOTS) - 1) % SLOTS;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.push(token);
            self.waiting += 1;
        }
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, token: usize) {
        for slot in &mut self.slots {
            let before = slot.len();
            slot.retain(|other| *other != token);
            self.waiting -= before - slot.len();
        }
    }

    /// Adds those to `due` whose turn it is.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<usize>) {
        let mut passed = 0;
        while self.waiting > 0 && self.next <= now && passed < SLOTS {
            if let Some(slot) = self.slots.get_mut(self.hand) {
                self.waiting -= slot.len();
                due.append(slot);
            }
            self.hand = (self.hand + 1) % SLOTS;
            self.next += SLOT;
            passed += 1;
        }
        if self.next <= now {
            // The thread was held up: what it missed is not made up for.
            self.next = now + SLOT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_millis(500);
    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn the_wait_leaves_room_in_the_socket() {
        // 1 Mbit/s: as long as may be.
        assert_eq!(wait(62_500, HALF, TENTH), Some(10));
        assert_eq!(wait(0, HALF, TENTH), Some(10));
        // 5 Mbit/s: 31 KB in 50 ms.
        assert_eq!(wait(312_500, HALF, TENTH), Some(5));
        // 20 Mbit/s have 25 KB in a slot.
        assert_eq!(wait(1_250_000, HALF, TENTH), None);
        assert_eq!(wait(u64::MAX, HALF, TENTH), None);
        // Switched off, and no longer than the wheel goes round.
        assert_eq!(wait(1000, HALF, Duration::ZERO), None);
        assert_eq!(wait(1000, HALF, Duration::from_secs(60)), Some(SLOTS));
    }

    #[test]
    fn each_has_its_turn_in_time() {
        let begin = Instant::now();
        let mut turns = Turns::new(begin);
        assert_eq!(turns.next(), None);
        let now = begin + Duration::from_secs(5);
        turns.put(1, 1, now);
        turns.put(2, 3, now);
        turns.put(3, SLOTS, now);
        let mut seen = Vec::new();
        for slot in 1..=SLOTS as u32 {
            let mut due = Vec::new();
            turns.take_due(now + SLOT * slot - Duration::from_millis(1), &mut due);
            assert!(due.is_empty(), "too early: {due:?}");
            turns.take_due(now + SLOT * slot, &mut due);
            seen.extend(due.into_iter().map(|token| (token, slot)));
        }
        assert_eq!(seen, [(1, 1), (2, 3), (3, SLOTS as u32)]);
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn one_that_left_has_no_turn() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        turns.put(7, 2, now);
        turns.put(8, 2, now);
        turns.remove(7);
        let mut due = Vec::new();
        turns.take_due(now + SLOT * 2, &mut due);
        assert_eq!(due, [8]);
        turns.remove(8);
        assert_eq!(turns.next(), None);
    }

    #[test]
    fn a_thread_that_was_held_up_gives_each_one_turn() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        for token in 0..SLOTS {
            turns.put(token, token + 1, now);
        }
        let mut due = Vec::new();
        let late = now + Duration::from_secs(60);
        turns.take_due(late, &mut due);
        assert_eq!(due, (0..SLOTS).collect::<Vec<_>>());
        turns.put(0, 1, late);
        assert!(turns.next().is_some_and(|next| next > late));
    }
}
