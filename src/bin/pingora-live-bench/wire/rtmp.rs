//! RTMP: the crate's own client session, which plays or publishes.

use std::time::Instant;

use pingora_live::media::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};
use pingora_live::rtmp::{
    ClientConfig, ClientError, ClientEvent, ClientSession, MediaKind, Purpose,
};

use crate::feed::Tag;
use crate::target::Target;

use super::{Event, Role, Trouble};

pub(crate) struct Rtmp {
    session: ClientSession,
}

impl Rtmp {
    pub(super) fn new(target: &Target, role: Role) -> (Self, Vec<u8>) {
        let (app, stream) = target.app_and_stream();
        let scheme = if target.tls { "rtmps" } else { "rtmp" };
        let purpose = match role {
            Role::Play => Purpose::Play,
            Role::Publish => Purpose::Publish,
        };
        let tc_url = format!("{scheme}://{}/{app}", target.authority());
        let mut rtmp = Self {
            session: ClientSession::new(
                ClientConfig {
                    // Some servers want the first word.
                    flash_ver: format!("FMLE/3.0 (compatible; {})", crate::AGENT),
                    ..ClientConfig::new(purpose, app, tc_url, stream)
                },
                Instant::now(),
            ),
        };
        let mut hello = Vec::new();
        rtmp.say(&mut hello);
        (rtmp, hello)
    }

    /// Nothing waits for the session's deadlines: the load has a patience of its own.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        self.session.input().extend_from_slice(bytes);
        let now = Instant::now();
        let mut result = self.session.handle_input(now);
        while let Some(event) = self.session.poll_event() {
            match event {
                ClientEvent::Started => sink(Event::MayPublish),
                ClientEvent::Media {
                    kind,
                    timestamp,
                    payload,
                } => {
                    let kind = match kind {
                        MediaKind::Audio => TAG_AUDIO,
                        MediaKind::Video => TAG_VIDEO,
                    };
                    sink(Event::Tag(kind, timestamp, payload));
                }
                ClientEvent::Data {
                    timestamp, payload, ..
                } => sink(Event::Tag(TAG_SCRIPT, timestamp, payload)),
                ClientEvent::Ended { .. } => return Err(Trouble("the stream ended".to_owned())),
                _ => {}
            }
        }
        self.say(out);
        // Polling decodes what is left; an error of that is told by the next call.
        result = result.and_then(|()| self.session.handle_timeout(now));
        result.map_err(|error| match error {
            // Without the description, in which each stream has its name: reports count.
            ClientError::Refused { code, .. } => Trouble(format!("refused: {code}")),
            other => Trouble(other.to_string()),
        })
    }

    /// Acknowledges what came and was thrown away.
    pub(super) fn discarded(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.session.skip(bytes as u64);
        self.say(out);
    }

    pub(super) fn send(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        let time = tag.timestamp();
        match tag.kind {
            TAG_VIDEO => self
                .session
                .publish_media(MediaKind::Video, time, &tag.body),
            TAG_AUDIO => self
                .session
                .publish_media(MediaKind::Audio, time, &tag.body),
            _ => self.session.publish_data(time, &tag.body),
        }
        self.say(out);
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.session.close();
        self.say(out);
    }

    fn say(&mut self, out: &mut Vec<u8>) {
        while let Some(bytes) = self.session.poll_output() {
            out.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_live::rtmp::{Event as Asked, ServerSession, SessionConfig};
    use std::time::Duration;

    /// Both sides over memory, until neither has anything to say.
    fn talk(role: Role, sink: &mut dyn FnMut(Event)) -> (Rtmp, ServerSession, Vec<Asked>) {
        let target = Target::parse("rtmp://127.0.0.1/live/x?key=1", 0).unwrap();
        let (mut client, mut up) = Rtmp::new(&target, role);
        let mut server = ServerSession::new(SessionConfig::default(), Instant::now());
        let mut asked = Vec::new();
        loop {
            server.input().extend_from_slice(&up);
            up.clear();
            server.handle_input(Instant::now()).unwrap();
            while let Some(event) = server.poll_event() {
                match &event {
                    Asked::Connect(_) => server.accept_connect(),
                    Asked::Publish(publish) => server.accept_publish(publish.stream_id),
                    Asked::Play(play) => server.accept_play(play.stream_id),
                    _ => {}
                }
                asked.push(event);
            }
            while let Some(down) = server.poll_output() {
                client.feed(&down, &mut up, sink).unwrap();
            }
            if up.is_empty() {
                return (client, server, asked);
            }
        }
    }

    #[test]
    fn it_plays_what_it_was_asked_to() {
        let (_, _, asked) = talk(Role::Play, &mut |_| {});
        let play = asked.iter().find_map(|event| match event {
            Asked::Play(play) => Some(play.name.as_str()),
            _ => None,
        });
        assert_eq!(play, Some("x?key=1"));
    }

    #[test]
    fn it_publishes_when_it_may() {
        let mut may = 0;
        let (mut client, mut server, _) = talk(Role::Publish, &mut |event| match event {
            Event::MayPublish => may += 1,
            event => panic!("{event:?}"),
        });
        assert_eq!(may, 1);
        let mut up = Vec::new();
        let tag = Tag {
            kind: TAG_VIDEO,
            body: vec![0x17; 200_000].into(),
            due: Duration::from_millis(40),
        };
        client.send(&tag, &mut up);
        client.finish(&mut up);
        server.input().extend_from_slice(&up);
        server.handle_input(Instant::now()).unwrap();
        let came = std::iter::from_fn(|| server.poll_event()).collect::<Vec<_>>();
        let media = came.iter().find_map(|event| match event {
            Asked::Media {
                timestamp, payload, ..
            } => Some((*timestamp, payload.len())),
            _ => None,
        });
        assert_eq!(media, Some((40, 200_000)));
        assert!(
            came.iter()
                .any(|event| matches!(event, Asked::Unpublish { .. })),
            "{came:?}"
        );
    }
}
