//! The rest of an RTMP conversation once it plays: the fan-out owns the connection, and asks here what the player's bytes mean.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::access::Traffic;
use crate::play::{Said, Talk};

use super::{Event, Reject, ServerSession};

/// What a player says while it plays: acknowledgements, pings, pause, and its end.
pub(super) struct PlayerTalk {
    session: ServerSession,
    traffic: Arc<Traffic>,
    stream_id: u32,
}

impl Talk for PlayerTalk {
    fn hear(&mut self, bytes: &[u8]) -> Said {
        let now = Instant::now();
        self.traffic
            .received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.session.append_input(bytes);
        let handled = self.session.handle_input(now);
        let mut pause = None;
        let mut over = handled.is_err();
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Pause { paused, .. } => pause = Some(paused),
                Event::StopPlay { .. } => over = true,
                // One connection, one stream.
                Event::Play(play) => {
                    let reject =
                        Reject::new("NetStream.Play.Failed", "this connection plays already");
                    self.session.reject_play(play.stream_id, &reject);
                }
                Event::Publish(publish) => {
                    let refused = Reject::new("NetStream.Publish.BadName", "this connection plays");
                    self.session.reject_publish(publish.stream_id, &refused);
                }
                _ => {}
            }
        }
        let answers = self.answers();
        self.session.release_input();
        match pause {
            _ if over => Said::Close(answers),
            Some(paused) => Said::Pause(paused, answers),
            None if answers.is_empty() => Said::Nothing,
            None => Said::Answer(answers),
        }
    }

    fn goodbye(&mut self) -> Bytes {
        self.session.end_play(self.stream_id);
        self.answers()
    }

    fn dismissal(&mut self) -> Bytes {
        let reject = Reject::new("NetStream.Play.Failed", "the play is ended by the server");
        self.session.fail_play(self.stream_id, &reject);
        self.answers()
    }
}

impl PlayerTalk {
    pub(super) fn new(mut session: ServerSession, traffic: Arc<Traffic>, stream_id: u32) -> Self {
        // A player says little: it keeps no room for a publisher's reads.
        session.release_input();
        Self {
            session,
            traffic,
            stream_id,
        }
    }

    fn answers(&mut self) -> Bytes {
        let mut answers = BytesMut::new();
        while let Some(bytes) = self.session.poll_output() {
            answers.extend_from_slice(&bytes);
        }
        answers.freeze()
    }
}
