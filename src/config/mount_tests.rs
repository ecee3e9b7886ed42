use super::*;

fn mount(text: &str) -> Mount {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `vhost app stream` of a match, with `-` for no vhost.
fn ask(template: &str, host: &str, path: &str) -> Option<String> {
    let found = mount(template).matches(host, path)?;
    Some(format!(
        "{} {} {}",
        found.vhost.as_deref().unwrap_or("-"),
        found.app,
        found.stream
    ))
}

#[test]
fn paths_and_what_they_ask_for() {
    let default = "[vhost]/[app]/[stream].flv";
    for (template, path, expected) in [
        (default, "/live/cam.flv", Some("- live cam")),
        // The host of the request in front is the vhost, in any case.
        (default, "/h.com/live/cam.flv", Some("h.com live cam")),
        (default, "/H.Com/live/cam.flv", Some("h.com live cam")),
        // But not when nothing would be left for the app.
        (default, "/h.com/cam.flv", Some("- h.com cam")),
        // Another host is no vhost: it is the app.
        (
            default,
            "/other.com/live/cam.flv",
            Some("- other.com/live cam"),
        ),
        // Apps with slashes.
        (default, "/a/b/c/cam.flv", Some("- a/b/c cam")),
        (default, "/h.com/a/b/cam.flv", Some("h.com a/b cam")),
        // The ending goes first.
        (default, "/live/cam.flv.flv", Some("- live cam.flv")),
        (default, "/live/.flv.flv", Some("- live .flv")),
        // Not of this mount.
        (default, "/cam.flv", None),
        (default, "/live/.flv", None),
        (default, "/live/cam", None),
        (default, "/live/cam.FLV", None),
        (default, "/live/cam.flv/", None),
        (default, "/live/cam.flv.m3u8", None),
        (default, "/live/", None),
        (default, "/", None),
        (default, "", None),
        (default, "//cam.flv", None),
        (default, "/live//cam.flv", None),
        (default, "//live/cam.flv", None),
        // A slash in front of the template changes nothing, and none is needed in front of the path.
        (
            "/[vhost]/[app]/[stream].flv",
            "/h.com/live/cam.flv",
            Some("h.com live cam"),
        ),
        ("/[app]/[stream].flv", "live/cam.flv", Some("- live cam")),
        // Without [vhost], a host in front is part of the app.
        (
            "/[app]/[stream].flv",
            "/h.com/live/cam.flv",
            Some("- h.com/live cam"),
        ),
        // Text before, after and between.
        (
            "/hls-like/[app]-[stream].flv",
            "/hls-like/live-cam.flv",
            Some("- live cam"),
        ),
        (
            "/hls-like/[app]-[stream].flv",
            "/hls-like/live-cam-1.flv",
            Some("- live cam-1"),
        ),
        (
            "/hls-like/[app]-[stream].flv",
            "/hls-like/-live-cam.flv",
            Some("- -live cam"),
        ),
        ("/hls-like/[app]-[stream].flv", "/hls-like/live.flv", None),
        ("/hls-like/[app]-[stream].flv", "/hls-like/live-.flv", None),
        ("/hls-like/[app]-[stream].flv", "/hls-like/-.flv", None),
        ("/hls-like/[app]-[stream].flv", "/other/live-cam.flv", None),
        (
            "/hls-like/[app]-[stream].flv",
            "/hls-like/a/live-cam.flv",
            None,
        ),
        ("[stream]@[app].flv", "/cam@live.flv", Some("- live cam")),
        (
            "[app]/play/[stream].flv",
            "/a/b/play/cam.flv",
            Some("- a/b cam"),
        ),
        ("[app]/play/[stream].flv", "/play/cam.flv", None),
        (
            "[app]/s-[stream]/x.flv",
            "/a/b/s-cam/x.flv",
            Some("- a/b cam"),
        ),
        ("[app]/s-[stream]/x.flv", "/a/b/cam/x.flv", None),
        (
            "[stream]/[app]/index.flv",
            "/cam/a/b/index.flv",
            Some("- a/b cam"),
        ),
        (
            "[app]/[stream]-hd.flv",
            "/live/cam-hd.flv",
            Some("- live cam"),
        ),
        (
            "[app]/[stream]-hd.flv",
            "/live/cam-hd-hd.flv",
            Some("- live cam-hd"),
        ),
        ("[app]/[stream]-hd.flv", "/live/cam.flv", None),
        ("x[app]/[stream].flv", "/xlive/cam.flv", Some("- live cam")),
        ("x[app]/[stream].flv", "/live/cam.flv", None),
        // [vhost] elsewhere has to be there, and may be any.
        (
            "flv/[vhost]/[app]/[stream].flv",
            "/flv/Any.com/live/cam.flv",
            Some("any.com live cam"),
        ),
        ("flv/[vhost]/[app]/[stream].flv", "/flv/live/cam.flv", None),
    ] {
        assert_eq!(
            ask(template, "h.com", path).as_deref(),
            expected,
            "{template} {path}"
        );
    }
}

#[test]
fn names_are_decoded_once() {
    for (path, expected) in [
        ("/live/%63am.flv", "- live cam"),
        ("/live/cam%2eflv", "- live cam"),
        ("/live/a%20b+c.flv", "- live a b+c"),
        ("/live/%E4%BD%A0%e5%a5%bd.flv", "- live 你好"),
        ("/live/你好.flv", "- live 你好"),
        ("/l%69ve/cam.flv", "- live cam"),
        ("/%68.com/live/cam.flv", "h.com live cam"),
        // Twice would be a way around.
        ("/live/a%252Fb.flv", "- live a%2Fb"),
        ("/live/%252e%252e.flv", "- live %2e%2e"),
        ("/live/a?b.flv", "- live a?b"),
    ] {
        assert_eq!(
            ask("[vhost]/[app]/[stream].flv", "h.com", path).as_deref(),
            Some(expected),
            "{path}"
        );
    }
}

#[test]
fn names_that_are_refused() {
    let default = Mount::default();
    for (path, expected) in [
        ("/live/a%.flv", BadPath::Percent),
        ("/live/a%4.flv", BadPath::Percent),
        ("/live/%zz.flv", BadPath::Percent),
        ("/live/%+1.flv", BadPath::Percent),
        ("/live/%ff.flv", BadPath::NotUtf8),
        ("/live/%c0%ae%c0%ae/cam.flv", BadPath::NotUtf8),
        ("/live/a%2Fb.flv", BadPath::EncodedSlash),
        ("/live/..%2f..%2fetc.flv", BadPath::EncodedSlash),
        ("/live/a%00.flv", BadPath::Control),
        ("/live/a%0d%0aX.flv", BadPath::Control),
        ("/live/a%7f.flv", BadPath::Control),
        ("/live/../cam.flv", BadPath::Dots),
        ("/live/%2e%2E/cam.flv", BadPath::Dots),
        ("/./cam.flv", BadPath::Dots),
        ("/h.com/../cam.flv", BadPath::Dots),
    ] {
        assert_eq!(default.try_match("h.com", path), Err(expected), "{path}");
        assert_eq!(default.matches("h.com", path), None, "{path}");
    }
    // Paths of others are others' to judge.
    for path in ["/files/../x.html", "/a%2Fb.ts", "/%ff", "/%"] {
        assert_eq!(default.try_match("h.com", path), Ok(None), "{path}");
    }
    // Dots within a name are nothing special.
    assert_eq!(
        ask("[app]/[stream].flv", "", "/live/a..b.flv").as_deref(),
        Some("- live a..b")
    );
    assert_eq!(
        ask("[app]/[stream].flv", "", "/.../...flv").as_deref(),
        Some("- ... ..")
    );
}

/// The caller may know more names than the host of the request.
#[test]
fn the_caller_says_what_a_vhost_is() {
    let default = Mount::default();
    let known = |name: &str| ["a.com", "b.com"].contains(&name);
    let found = default
        .try_match_where(known, "/b.com/live/cam.flv")
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.vhost.as_deref(), found.app.as_str()),
        (Some("b.com"), "live")
    );
    let found = default
        .try_match_where(known, "/c.com/live/cam.flv")
        .unwrap()
        .unwrap();
    assert_eq!((found.vhost, found.app.as_str()), (None, "c.com/live"));
}

#[test]
fn templates_that_are_refused() {
    for (template, expected) in [
        (
            "[vhost]/[app]/[stream].m3u8",
            ".m3u8 is not served by this version; mounts end in .flv, .ts, .aac or .mp3",
        ),
        (
            "[vhost]/[app]/[stream]",
            "a mount ends in .flv, .ts, .aac or .mp3",
        ),
        (
            "[vhost]/[app]/[stream].flv/",
            "a mount ends in .flv, .ts, .aac or .mp3",
        ),
        ("", "a mount ends in .flv, .ts, .aac or .mp3"),
        (
            "/live/cam.flv",
            "[app] is missing, so that streams could not be told apart",
        ),
        (
            "[app]/cam.flv",
            "[stream] is missing, so that streams could not be told apart",
        ),
        (
            "/live/[stream].flv",
            "[app] is missing, so that streams could not be told apart",
        ),
        ("[app]/[app]/[stream].flv", "[app] stands there twice"),
        (
            "[vhost]/[vhost]/[app]/[stream].flv",
            "[vhost] stands there twice",
        ),
        ("[app]/[stream]-[stream].flv", "[stream] stands there twice"),
        (
            "[app]/[name].flv",
            "[name] is unknown; variables are [vhost], [app] and [stream]",
        ),
        (
            "[app]/[Stream].flv",
            "[Stream] is unknown; variables are [vhost], [app] and [stream]",
        ),
        (
            "[app]/[].flv",
            "[] is unknown; variables are [vhost], [app] and [stream]",
        ),
        (
            "[app]/[stream.flv",
            "a bracket is not closed, or not opened",
        ),
        (
            "[app]/stream].flv",
            "a bracket is not closed, or not opened",
        ),
        (
            "[app][stream].flv",
            "text is needed between [app] and [stream]",
        ),
        (
            "[vhost]-[app]/[stream].flv",
            "[vhost] has to be a whole segment",
        ),
        ("[app]/[stream]?x=.flv", "'?' cannot stand in a path"),
        ("[app]/[stream] .flv", "' ' cannot stand in a path"),
        ("%41/[app]/[stream].flv", "'%' cannot stand in a path"),
        ("*/[app]/[stream].flv", "'*' cannot stand in a path"),
        (
            "[app]//[stream].flv",
            "an empty segment, \".\" or \"..\" cannot stand in a path",
        ),
        (
            "../[app]/[stream].flv",
            "an empty segment, \".\" or \"..\" cannot stand in a path",
        ),
        (
            "http://[vhost]/[app]/[stream].flv",
            "an empty segment, \".\" or \"..\" cannot stand in a path",
        ),
    ] {
        let error = template.parse::<Mount>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{template}");
    }
}

#[test]
fn the_default_is_what_its_text_says() {
    for extension in Extension::ALL {
        let text = format!("{DEFAULT}{}", extension.suffix());
        assert_eq!(mount(&text), Mount::of(extension));
    }
    assert_eq!(Mount::default().to_string(), "[vhost]/[app]/[stream].flv");
    assert_eq!(Mount::default().extension().suffix(), ".flv");
}

proptest::proptest! {
    /// What is put into a path comes out of it.
    #[test]
    fn names_survive(app in "[^/\u{0}-\u{1f}\u{7f}-\u{9f}]{1,8}", stream in "[^/\u{0}-\u{1f}\u{7f}-\u{9f}]{1,8}") {
        proptest::prop_assume!(app != "." && app != "..");
        let encode = |name: &str| name.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let path = format!("/{}/{}.flv", encode(&app), encode(&stream));
        let found = mount("[app]/[stream].flv").try_match("", &path);
        proptest::prop_assert_eq!(found, Ok(Some(MountMatch { vhost: None, app, stream })));
    }

    /// No path and no template makes it panic, and no name holds what would be dangerous.
    #[test]
    fn any_path_is_answered(path in "[a-b./%0-2fFlLvV\u{e9}-]{0,30}", tail in "(\\.flv)?") {
        for template in ["[vhost]/[app]/[stream].flv", "[app]-[stream].flv", "a/[app]/b[stream]/c.flv"] {
            if let Some(found) = mount(template).matches("a", &format!("/{path}{tail}")) {
                proptest::prop_assert!(!found.stream.contains('/') && !found.app.split('/').any(|part| part == ".." || part.is_empty()));
            }
        }
    }

    #[test]
    fn any_template_is_answered(text in "(\\[app\\]|\\[stream\\]|\\[vhost\\]|[\\[\\]/.a-]){0,8}(\\.flv)?", path in "[a-b./-]{0,20}\\.flv") {
        if let Ok(mount) = text.parse::<Mount>() {
            let _ = mount.matches("a", &path);
        }
    }
}

#[test]
fn how_much_of_a_path_a_template_spells_out() {
    for (template, expected) in [
        ("[vhost]/[app]/[stream].ts", 3),
        ("/x/[app]-[stream].ts", 5),
        ("/x/live/[app]/[stream].flv", 9),
    ] {
        assert_eq!(mount(template).literal_len(), expected, "{template}");
    }
}
