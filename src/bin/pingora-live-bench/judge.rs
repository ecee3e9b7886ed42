//! Looks at a stream tag by tag, as a player gets it, and says what is wrong with it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use pingora_live::media::FrameKind;
use pingora_live::media::flv::TAG_VIDEO;

use crate::feed::{Mark, frame, is_whole};

/// One player's tags.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Tags seen.
    pub(crate) tags: u64,
    /// Keyframes that it skipped to.
    pub(crate) skips: u64,
    has_video: bool,
    last_audio: Option<u32>,
    last_video: Option<u32>,
    last_number: Option<u64>,
    pub(crate) problems: BTreeMap<&'static str, u64>,
}

/// What a tag was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Players can start at it.
    pub(crate) start: bool,
    /// When a made-up frame was sent.
    pub(crate) sent: Option<SystemTime>,
}

impl Judge {
    /// Takes the next tag.
    pub(crate) fn see(&mut self, kind: u8, timestamp: u32, body: &Bytes) -> Seen {
        self.tags += 1;
        let mut seen = Seen {
            start: false,
            sent: None,
        };
        self.has_video |= kind == TAG_VIDEO;
        let Some(frame) = frame(kind, body).filter(pingora_live::media::Frame::is_coded) else {
            return seen;
        };
        if frame.kind == FrameKind::Audio {
            self.time(timestamp, |judge| &mut judge.last_audio);
            // Without video, each is a place to start.
            seen.start = !self.has_video;
            return seen;
        }
        seen.start = frame.keyframe;
        if self.last_video.is_none() && !frame.keyframe {
            self.wrong("the first picture is no keyframe");
        }
        self.time(timestamp, |judge| &mut judge.last_video);
        if let Some(mark) = Mark::of(body) {
            seen.sent = Some(mark.sent);
            if !is_whole(body) {
                self.wrong("a frame is damaged");
            }
            match self.last_number {
                Some(last) if mark.number == last + 1 => {}
                Some(last) if mark.number > last && frame.keyframe => self.skips += 1,
                Some(last) if mark.number > last => self.wrong("frames are missing"),
                Some(_) => self.wrong("a frame came twice, or late"),
                None => {}
            }
            self.last_number = Some(mark.number);
        }
        seen
    }

    fn time(&mut self, timestamp: u32, last: impl Fn(&mut Self) -> &mut Option<u32>) {
        let before = last(self).replace(timestamp);
        // Timestamps wrap after 49 days: less than half of that ahead is forward.
        if before.is_some_and(|before| timestamp.wrapping_sub(before) > u32::MAX / 2) {
            self.wrong("time goes back");
        }
    }

    fn wrong(&mut self, what: &'static str) {
        *self.problems.entry(what).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Feed, Shape, Tag};
    use std::time::Duration;

    fn tags() -> Vec<Tag> {
        let mut feed = Feed::made(Shape {
            bitrate: 500_000,
            fps: 25,
            gop: Duration::from_secs(1),
        });
        std::iter::repeat_with(|| feed.next()).take(200).collect()
    }

    fn judge<'a>(tags: impl Iterator<Item = &'a Tag>) -> Judge {
        let mut judge = Judge::default();
        for tag in tags {
            judge.see(tag.kind, tag.timestamp(), &tag.body);
        }
        judge
    }

    fn problems(judge: &Judge) -> Vec<&'static str> {
        judge.problems.keys().copied().collect()
    }

    #[test]
    fn a_good_stream_has_no_problems() {
        let judge = judge(tags().iter());
        assert_eq!((problems(&judge), judge.tags), (vec![], 200));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tags = tags();
        let pictures: Vec<&Tag> = tags
            .iter()
            .filter(|t| Mark::of(&t.body).is_some())
            .collect();
        let all = || pictures.iter().copied();
        assert_eq!(
            problems(&judge(all().skip(1))),
            ["the first picture is no keyframe"]
        );
        assert_eq!(
            problems(&judge(all().take(5).chain(all().skip(6)))),
            ["frames are missing"]
        );
        let skipped = judge(all().take(5).chain(all().skip(25)));
        assert_eq!((problems(&skipped), skipped.skips), (vec![], 1));
        assert_eq!(
            problems(&judge(all().take(5).chain(all().skip(3)))),
            ["a frame came twice, or late", "time goes back"]
        );
        let mut cut = pictures[0].clone();
        cut.body.truncate(cut.body.len() - 3);
        assert_eq!(
            problems(&judge(std::iter::once(&cut))),
            ["a frame is damaged"]
        );
    }
}
