//! Where to listen.

use super::good;

#[test]
fn addresses() {
    for (yaml, expected) in [
        ("1935", &["0.0.0.0:1935"][..]),
        ("\":1935\"", &["0.0.0.0:1935"]),
        (":1935", &["0.0.0.0:1935"]),
        ("\"*:1935\"", &["0.0.0.0:1935"]),
        ("localhost:1935", &["127.0.0.1:1935"]),
        ("127.0.0.1:1935", &["127.0.0.1:1935"]),
        ("\"[::]:1935\"", &["[::]:1935"]),
        ("[1935, \"[::1]:1936\"]", &["0.0.0.0:1935", "[::1]:1936"]),
        (
            "\n      - 1935\n      - 127.0.0.1:1936",
            &["0.0.0.0:1935", "127.0.0.1:1936"],
        ),
        ("[]", &[]),
    ] {
        let config = good(&format!("live:\n  rtmp:\n    listen: {yaml}\n"));
        let listen: Vec<_> = config
            .live
            .rtmp
            .listen
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(listen, expected, "{yaml}");
    }
}

#[test]
fn ipv6_beside_ipv4() {
    let live =
        good("live: { rtmp: { listen: [1935, '[::]:1935', '[::]:1936', '[::1]:1937'] } }").live;
    let only: Vec<_> = live
        .rtmp
        .listen
        .iter()
        .map(|address| live.ipv6_only(*address))
        .collect();
    assert_eq!(only, [false, true, false, false]);
}
