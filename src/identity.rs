//! The names by which a server, a run of it and its streams are known to back ends, in SRS's form: `vid-` and seven characters.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::hub::StreamKey;

/// Names this server: the same after a restart on the same machine.
pub(crate) fn server_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| id(&[host_name().as_bytes()]))
}

/// Names this run of the server.
pub(crate) fn service_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_nanos());
        id(&[
            host_name().as_bytes(),
            &std::process::id().to_be_bytes(),
            &now.to_be_bytes(),
        ])
    })
}

/// Names a stream of this server, whoever publishes it.
pub(crate) fn stream_id(key: &StreamKey) -> String {
    id(&[server_id().as_bytes(), key.to_string().as_bytes()])
}

/// `vhost/app/stream`, as SRS writes it: nothing stands for the default vhost.
pub(crate) fn stream_url(key: &StreamKey) -> String {
    let vhost = match key.vhost() {
        crate::config::DEFAULT_VHOST => "",
        vhost => vhost,
    };
    format!("{vhost}/{}/{}", key.app(), key.stream())
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

fn id(parts: &[&[u8]]) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 7;
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let letters = hash.finalize();
    let letters = letters.iter().take(LENGTH).filter_map(|byte| {
        let letter = LETTERS.get(usize::from(*byte) % LETTERS.len())?;
        Some(char::from(*letter))
    });
    "vid-".chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_of_srs_form() {
        let key = |vhost| StreamKey::new(vhost, "live", "x").unwrap();
        let (one, other) = (key("__defaultVhost__"), key("a.example"));
        assert_eq!(stream_id(&one), stream_id(&one));
        assert_ne!(stream_id(&one), stream_id(&other));
        assert_ne!(server_id(), service_id());
        for id in [server_id(), service_id(), &stream_id(&one)] {
            let rest = id.strip_prefix("vid-").unwrap();
            assert!(
                rest.len() == 7 && rest.bytes().all(|b| b.is_ascii_alphanumeric()),
                "{id}"
            );
        }
        assert_eq!(stream_url(&one), "/live/x");
        assert_eq!(stream_url(&other), "a.example/live/x");
    }
}
