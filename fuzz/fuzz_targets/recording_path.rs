//! The path of a recording, whatever a stream is called: it lies below the folder that the template names, is FLV, and names no other
//! folder.
//!
//! Input, a line each: the moment in milliseconds, the template, the app, the stream's name.

#![no_main]

use std::path::Component;

use libfuzzer_sys::fuzz_target;
use pingora_live::config::{Moment, Names, RecordingPath};
use pingora_live::hub::StreamKey;

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.splitn(4, '\n').collect();
    let [timestamp_ms, template, app, stream] = lines[..] else {
        return;
    };
    let Ok(template) = template.parse::<RecordingPath>() else {
        return;
    };
    assert_eq!(template.as_str().parse().as_ref(), Ok(&template));
    let Ok(key) = StreamKey::new("a.example", app, stream) else {
        return;
    };
    let mut moment = Moment::default();
    moment.timestamp_ms = timestamp_ms.parse().unwrap_or_default();
    let names = Names {
        vhost: key.vhost(),
        app: key.app(),
        stream: key.stream(),
    };
    let path = template.render(names, &moment);
    let root = template.root();
    assert!(path.components().all(|part| part != Component::ParentDir));
    let below = root.as_os_str() == "." && path.is_relative() || path.starts_with(&root);
    assert!(below, "{} in {}", path.display(), root.display());
    assert!(path.extension().is_some_and(|ending| ending == "flv"));
    assert!(!path.to_string_lossy().chars().any(char::is_control));
});
