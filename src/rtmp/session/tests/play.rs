//! Playing: the dialogue around the bytes that others make.

use super::*;

/// A client whose play on stream 1 waits for the driver's answer.
fn asked() -> Peer {
    let mut peer = Peer::connected();
    let create = peer.command(0, "createStream", 2.0, &[Value::Null]);
    peer.ask(&create);
    let play = peer.command(1, "play", 0.0, &[Value::Null, "film?k=1".into()]);
    peer.session.input().put_slice(&play);
    peer.session.handle_input(peer.now).unwrap();
    let event = peer.session.poll_event();
    assert!(matches!(event, Some(Event::Play(play)) if play.name == "film?k=1"));
    peer
}

fn playing() -> Peer {
    let mut peer = asked();
    peer.session.accept_play(1);
    peer.replies();
    peer
}

#[test]
fn a_play_begins_in_flashs_order() {
    let mut peer = asked();
    peer.session.accept_play(1);
    assert_eq!(
        peer.replies(),
        [
            "stream 1 begins",
            "1 onStatus 0 NetStream.Play.Reset",
            "1 onStatus 0 NetStream.Play.Start",
            // RtmpSampleAccess, and nothing behind it that FFmpeg would take for a track of its own.
            "type 18",
        ]
    );
    assert_eq!(peer.session.deadline(), None, "it may play for days");
}

#[test]
fn the_end_of_the_stream_is_told() {
    let mut peer = playing();
    peer.session.end_play(1);
    assert_eq!(
        peer.replies(),
        [
            "1 onStatus 0 NetStream.Play.UnpublishNotify",
            "event 1",
            "1 onStatus 0 NetStream.Play.Stop",
        ]
    );
    peer.session.end_play(1);
    assert_eq!(peer.replies(), [""; 0]);
}

#[test]
fn a_pause_is_answered_and_told() {
    let mut peer = playing();
    for (paused, code) in [
        (true, "NetStream.Pause.Notify"),
        (false, "NetStream.Unpause.Notify"),
    ] {
        let arguments = [Value::Null, Value::Boolean(paused), Value::Number(0.0)];
        let sent = peer.command(1, "pause", 0.0, &arguments);
        assert_eq!(
            peer.feed(&sent),
            Ok(vec![Event::Pause {
                stream_id: 1,
                paused
            }])
        );
        assert_eq!(peer.replies(), [format!("1 onStatus 0 {code}")]);
    }
}

#[test]
fn leaving_is_told_once() {
    for (name, stream_id, arguments) in [
        ("closeStream", 1, vec![Value::Null]),
        ("deleteStream", 0, vec![Value::Null, Value::Number(1.0)]),
    ] {
        let mut peer = playing();
        let sent = peer.command(stream_id, name, 0.0, &arguments);
        assert_eq!(
            peer.feed(&sent),
            Ok(vec![Event::StopPlay { stream_id: 1 }]),
            "{name}"
        );
        assert_eq!(peer.feed(&sent), Ok(vec![]), "{name}");
    }
}

#[test]
fn media_of_a_player_goes_nowhere() {
    let mut peer = playing();
    let sent = peer.chunk(VIDEO, 1, 0, &[0x17, 1, 0, 0, 0]);
    assert_eq!(peer.feed(&sent), Ok(vec![]));
}

#[test]
fn a_long_play_is_not_cut_for_its_commands() {
    let mut peer = playing();
    for _ in 0..2000 {
        let arguments = [Value::Null, Value::Boolean(true), Value::Number(0.0)];
        let sent = peer.command(1, "pause", 0.0, &arguments);
        assert!(peer.feed(&sent).is_ok());
        peer.replies();
    }
}
