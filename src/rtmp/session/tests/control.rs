//! Control messages: pings, windows, acknowledgements, aborts.

use super::*;

#[test]
fn pings_are_answered() {
    let mut peer = Peer::connected();
    let sent = peer.chunk(message::USER_CONTROL, 0, 0, &[0, 6, 0, 0, 1, 0]);
    assert_eq!(peer.ask(&sent), ["pong 256"]);
    // Set Buffer Length, a pong, a cut ping, nothing at all.
    for payload in [
        &[0, 3, 0, 0, 0, 1, 0, 0, 3, 232][..],
        &[0, 7, 0, 0, 0, 0],
        &[0, 6, 1],
        &[0],
        &[],
    ] {
        let sent = peer.chunk(message::USER_CONTROL, 0, 0, payload);
        assert_eq!(peer.ask(&sent), [""; 0]);
    }
}

#[test]
fn the_peers_bandwidth_is_answered_with_a_window_when_it_changes() {
    let mut peer = Peer::connected();
    let sent = peer.chunk(message::SET_PEER_BANDWIDTH, 0, 0, &[0, 0x26, 0x25, 0xa0, 2]);
    assert_eq!(peer.ask(&sent), [""; 0], "2,500,000 is what it has");
    let sent = peer.chunk(message::SET_PEER_BANDWIDTH, 0, 0, &[0, 1, 0, 0]);
    assert_eq!(peer.ask(&sent), ["window 65536"]);
}

#[test]
fn received_bytes_are_acknowledged_by_the_window() {
    let mut peer = Peer::publishing("name");
    let mut sent = vec![];
    for _ in 0..25 {
        sent.extend(peer.chunk(VIDEO, 1, 0, &[0; 100_000]));
    }
    let mut replies = vec![];
    for part in sent.chunks(10_000) {
        replies.extend(peer.ask(part));
    }
    let [reply] = &replies[..] else {
        panic!("{replies:?}")
    };
    let acknowledged: u64 = reply.strip_prefix("acknowledge ").unwrap().parse().unwrap();
    assert!(
        (2_500_000..2_511_000).contains(&acknowledged),
        "{acknowledged}"
    );

    // The peer may want it sooner. Never more than once for each input, however small the window.
    let window = peer.chunk(message::WINDOW_ACK_SIZE, 0, 0, &[0, 0, 0, 1]);
    let zero = peer.chunk(message::WINDOW_ACK_SIZE, 0, 0, &[0, 0, 0, 0]);
    let media = peer.chunk(VIDEO, 1, 0, &[0; 100]);
    let received = peer.session.bytes_received() + (window.len() + zero.len() + media.len()) as u64;
    assert_eq!(
        peer.ask(&[window, zero, media].concat()),
        [format!("acknowledge {received}")]
    );
    // A chunk that is not whole counts too.
    assert_eq!(peer.ask(&[7]), [format!("acknowledge {}", received + 1)]);
}

#[test]
fn abort_drops_a_message() {
    let mut peer = Peer::publishing("name");
    let cut = peer.chunk(AUDIO, 1, 0, &[1; 200])[..12 + 128].to_vec();
    let abort = peer.chunk(message::ABORT, 0, 0, &[0, 0, 0, 6]);
    let next = peer.chunk(AUDIO, 1, 5, b"next");
    assert_eq!(
        peer.feed(&[cut, abort, next].concat()),
        Ok(vec![audio(1, 5, b"next")])
    );
}
