//! What an unknown key was probably meant to be.

use super::error::Problem;

/// Keys that have no effect in this version: of other servers, or to come. They get no spelling hint, since an operator
/// who writes one knows what it would do, and must not think that it works.
const NOT_SERVED: &[&str] = &[
    "atc",
    "bandcheck",
    "dash",
    "exec",
    "hds",
    "heartbeat",
    "hls",
    "ingest",
    "rtc",
    "rtc_server",
    "srt",
    "srt_server",
    "stats",
    "stream_caster",
    "transcode",
];

/// Keys of SRS and nginx-rtmp, and what to write instead. `docs/configuration.md` has the same table, checked by a test.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("allow_origin", "live.http.crossdomain"),
    (
        "application",
        "nothing: any app may be published, as in rtmp://host/app/stream",
    ),
    ("cert", "live.https.certs"),
    ("dir", "live.http.root"),
    (
        "drop_idle_publisher",
        "live.vhosts.<name>.publish.normal_timeout",
    ),
    ("dvr_duration", "live.vhosts.<name>.dvr.duration"),
    ("dvr_path", "live.vhosts.<name>.dvr.path"),
    ("dvr_plan", "live.vhosts.<name>.dvr.plan"),
    ("dvr_wait_keyframe", "live.vhosts.<name>.dvr.wait_keyframe"),
    ("flv_live", "live.vhosts.<name>.http_remux"),
    ("hstrs", "live.vhosts.<name>.play.on_missing: wait"),
    ("http_server", "live.http"),
    ("http_static", "live.http.root"),
    ("http_api", "live.api"),
    ("idle_streams", "live.vhosts.<name>.play.on_missing"),
    ("interleave", "live.vhosts.<name>.play.mix_correct"),
    ("live", "nothing: every app is live"),
    ("max_connections", "live.limits.connections"),
    ("min_latency", "live.vhosts.<name>.play.mw_latency: 0s"),
    ("mr", "nothing: publishers are read as their bytes come"),
    (
        "mr_latency",
        "nothing: publishers are read as their bytes come",
    ),
    ("mw_msgs", "live.vhosts.<name>.play.mw_latency"),
    ("out_queue", "live.vhosts.<name>.play.queue_length"),
    ("pid", "pid_file, at the top level"),
    ("record", "live.vhosts.<name>.dvr.enabled"),
    ("record_path", "live.vhosts.<name>.dvr.path"),
    ("rtmps", "live.rtmp.tls"),
    ("send_min_interval", "live.vhosts.<name>.play.mw_latency"),
    ("server", "live.rtmp.listen"),
    ("srs_log_file", "error_log, at the top level"),
    ("srs_log_level", "live.log.level"),
    (
        "srs_log_tank",
        "nothing: the log goes to stderr, or to error_log with daemon",
    ),
    ("srs_log_level_v2", "live.log.level"),
    ("tcp_nodelay", "nothing: it is always on"),
    ("vhost", "live.vhosts"),
    ("wait_key", "nothing: players always begin at a keyframe"),
    ("worker_processes", "threads, at the top level"),
    ("work_dir", "working_directory, at the top level"),
];

/// Begins the hint that lists the keys of a section.
pub(super) const KNOWN_HERE: &str = "known here";

/// As many sections as a hint names: `listen` is in five.
const MAX_PLACES: usize = 5;

/// The word nearest to what was written, if it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong, but at least one: `lisen`, `que_length`, `h2x`.
    let most = (written.chars().count().max(3)) / 3;
    known
        .map(|word| (strsim::osa_distance(written, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// What to say of a key that does not exist in the section at `path`, where `known` are the keys that do.
pub(super) fn unknown_key(key: &str, path: &str, known: &[&str]) -> Problem {
    if NOT_SERVED.contains(&key) {
        return Problem::NotServed;
    }
    let hint = if let Some(word) = nearest(key, known.iter().copied()) {
        format!("did you mean `{word}`?")
    } else if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == key) {
        format!("here it is {ours}")
    } else if super::server::KEYS.iter().any(|(name, ..)| *name == key) {
        "it is pingora's, and belongs at the top level, beside `live`".to_owned()
    } else if let Some(place) = place_of(key, path) {
        format!("it belongs under {place}")
    } else if known.is_empty() {
        "none is known here".to_owned()
    } else {
        format!("{KNOWN_HERE}: {}", known.join(", "))
    };
    Problem::UnknownKey { hint }
}

/// The sections that have a key of this name, unless they are too many to be a hint.
fn place_of(key: &str, path: &str) -> Option<String> {
    let mut places: Vec<String> = super::print::documented_keys()
        .into_iter()
        .filter_map(|known| {
            let (section, name) = known.path.rsplit_once('.')?;
            (name == key).then(|| section.to_owned())
        })
        .filter(|place| place != path && !place.ends_with(']'))
        .collect();
    places.dedup();
    match places.as_slice() {
        [place] => Some(place.clone()),
        [before @ .., last] if places.len() <= MAX_PLACES => {
            Some(format!("{} or {last}", before.join(", ")))
        }
        _ => None,
    }
}
