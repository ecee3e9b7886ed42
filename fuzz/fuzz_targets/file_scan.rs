//! Searches any file for a keyframe, by byte and by time: it ends, never reads absurd amounts, and what it gives is an FLV head and the
//! place of a tag. The first four bytes say what is looked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pingora_live::files::seek::{Outcome, Scanner, Seek, Step};
use pingora_live::media::flv::{FlvReader, TAG_AUDIO, TAG_VIDEO};

/// More than the scanner ever asks for at once.
const MAX_READ: usize = 8 << 20;

fn search(file: &[u8], seek: Seek) -> Outcome {
    let mut scanner = Scanner::new(file.len() as u64, seek);
    // A tag has 15 bytes at least, and is looked at three times at most: with its body, and again when the index was wrong.
    for _ in 0..file.len() + 100 {
        match scanner.step() {
            Step::Done(outcome) => return outcome,
            Step::Read { at, len } => {
                assert!((1..=MAX_READ).contains(&len));
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
                let to = from.saturating_add(len).min(file.len());
                scanner.feed(&file[from..to]);
            }
        }
    }
    panic!("the search does not end");
}

fuzz_target!(|data: &[u8]| {
    let Some((place, file)) = data.split_first_chunk::<4>() else {
        return;
    };
    let place = u64::from(u32::from_le_bytes(*place));
    for seek in [
        Seek::Byte(place),
        Seek::Time(place),
        Seek::Byte(place % (file.len() as u64 + 1)),
        Seek::Time(place % 10_000),
    ] {
        if let Outcome::Cut(cut) = search(file, seek) {
            let first = file[cut.from as usize];
            assert!(first == TAG_AUDIO || first == TAG_VIDEO);
            if let Seek::Byte(byte) = seek {
                assert!(cut.from >= byte);
            }
            let mut reader = FlvReader::new();
            reader.feed(&cut.head);
            while reader.poll().expect("the head is an FLV file").is_some() {}
            assert!(reader.is_between_tags());
        }
    }
});
