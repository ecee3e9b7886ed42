//! Commands: from a message to a name with arguments, and the replies.

use super::amf0::{Amf0Error, Value, decode_prefix, encode};
use super::event::{Connect, Play, Publish, PublishKind, Reject};
use super::limits::MAX_FOURCCS;
use bytes::BytesMut;

/// A command message (RTMP 1.0 §7.2).
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    pub name: String,
    /// 0 when the client wants no answer.
    pub transaction: f64,
    /// The command object, then the arguments.
    values: Vec<Value>,
}

/// Why a message is no command.
#[derive(Debug, PartialEq)]
pub(crate) enum CommandError {
    Amf0(Amf0Error),
    NoName,
}

impl Command {
    /// Reads the AMF0 of a command.
    ///
    /// What follows an AMF3 value is lost, but not the command: Flash clients that were promised AMF3 only use it for
    /// objects, and what we need are texts and numbers.
    pub fn parse(body: &[u8]) -> Result<Command, CommandError> {
        let (values, error) = decode_prefix(body);
        match error {
            None | Some(Amf0Error::Amf3 { .. }) => {}
            Some(error) => return Err(CommandError::Amf0(error)),
        }
        let mut values = values.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return Err(CommandError::NoName);
        };
        let mut rest = values.collect::<Vec<_>>();
        let transaction = match rest.first().and_then(Value::as_f64) {
            Some(number) => {
                rest.remove(0);
                if number.is_finite() { number } else { 0.0 }
            }
            None => 0.0,
        };
        Ok(Command {
            name,
            transaction,
            values: rest,
        })
    }

    /// The argument `index`, counted after the command object.
    pub fn argument(&self, index: usize) -> Option<&Value> {
        self.values.get(index + 1)
    }

    /// What stands where a command object is expected.
    pub fn object(&self) -> Option<&Value> {
        self.values
            .first()
            .filter(|value| value.properties().is_some())
    }

    /// A text argument; empty when it is not there or no text.
    pub fn text(&self, index: usize) -> &str {
        self.argument(index)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A message stream id as an argument.
    pub fn stream_id(&self, index: usize) -> Option<u32> {
        let number = self.argument(index)?.as_f64()?;
        (number >= 1.0 && number <= f64::from(u32::MAX)).then_some(number as u32)
    }

    /// The arguments of connect; nothing without a command object.
    pub fn connect(&self) -> Option<Connect> {
        let object = self.values.first()?;
        object.properties()?;
        let text = |key| {
            object
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Some(Connect {
            app: text("app"),
            tc_url: text("tcUrl"),
            flash_ver: text("flashVer"),
            swf_url: text("swfUrl"),
            page_url: text("pageUrl"),
            object_encoding: object
                .get("objectEncoding")
                .and_then(Value::as_f64)
                .unwrap_or_default(),
            fourcc_list: fourccs(object),
            caps_ex: object
                .get("capsEx")
                .and_then(Value::as_f64)
                .unwrap_or_default() as u32,
            via: text("via"),
        })
    }

    /// The arguments of publish.
    pub fn publish(&self, stream_id: u32) -> Publish {
        let kind = match self.text(1) {
            "record" => PublishKind::Record,
            "append" | "appendWithGap" => PublishKind::Append,
            _ => PublishKind::Live,
        };
        Publish {
            stream_id,
            name: self.text(0).to_owned(),
            kind,
        }
    }

    /// The arguments of play.
    pub fn play(&self, stream_id: u32) -> Play {
        let number = |index, default| {
            self.argument(index)
                .and_then(Value::as_f64)
                .unwrap_or(default)
        };
        Play {
            stream_id,
            name: self.text(0).to_owned(),
            start: number(1, -2.0),
            duration: number(2, -1.0),
            reset: match self.argument(3) {
                Some(Value::Boolean(reset)) => *reset,
                Some(Value::Number(reset)) => *reset != 0.0,
                _ => true,
            },
        }
    }
}

/// E-RTMP v2, "Enhancing NetConnection connect Command".
fn fourccs(object: &Value) -> Vec<String> {
    let list = match object.get("fourCcList") {
        Some(Value::StrictArray(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let maps = ["videoFourCcInfoMap", "audioFourCcInfoMap"]
        .into_iter()
        .filter_map(|key| object.get(key)?.properties())
        .flatten()
        .map(|(name, _)| name.as_str());
    let mut found: Vec<String> = Vec::new();
    for name in list.into_iter().chain(maps) {
        if found.len() == MAX_FOURCCS {
            break;
        }
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The video FourCCs that pass, E-RTMP v2 "Enhanced Video".
const VIDEO_FOURCCS: [&str; 5] = ["avc1", "hvc1", "av01", "vp09", "vp08"];
/// The audio FourCCs that pass, E-RTMP v2 "Enhanced Audio".
const AUDIO_FOURCCS: [&str; 6] = ["mp4a", ".mp3", "Opus", "fLaC", "ac-3", "ec-3"];
/// E-RTMP v2, enum `FourCcInfoMask`: the codec is relayed to others, neither encoded nor decoded here.
const CAN_FORWARD: f64 = 4.0;
/// E-RTMP v2, enum `CapsExMask`: Multitrack 0x02, ModEx 0x04, TimestampNanoOffset 0x08. All three pass through as they
/// came. Not Reconnect 0x01: this server never asks a client to go elsewhere.
const CAPS_EX: f64 = 14.0;

/// The body of a command or reply.
pub(crate) fn body(name: &str, transaction: f64, values: &[Value]) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&Value::from(name), &mut out);
    encode(&Value::Number(transaction), &mut out);
    for value in values {
        encode(value, &mut out);
    }
    out
}

/// An information object (RTMP 1.0 §7.2.2).
pub(crate) fn info(level: &str, code: &str, description: &str) -> Vec<(String, Value)> {
    [
        ("level", level),
        ("code", code),
        ("description", description),
    ]
    .map(|(key, value)| (key.to_owned(), Value::from(value)))
    .into()
}

/// The information object of a rejection.
pub(crate) fn rejection(reject: &Reject) -> Value {
    let mut info = info("error", reject.code, &reject.description);
    if let Some(url) = &reject.redirect {
        let ex = Value::object([
            ("code", Value::Number(302.0)),
            // SRS's reading of it: the first is a tcUrl, as Flash's clients want it, the second has the stream's name.
            ("redirect", Value::from(tc_url(url).as_str())),
            ("redirect2", Value::from(url.as_str())),
        ]);
        info.push(("ex".to_owned(), ex));
    }
    Value::Object(info)
}

/// The address of a stream without its name, and with its query: `rtmp://host/app/stream?x` gives `rtmp://host/app?x`.
fn tc_url(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    let app = path.rsplit_once('/').map_or(path, |(app, _)| app);
    format!("{app}{query}")
}

/// What passes here by E-RTMP v2, for connect and its answer alike.
pub(crate) fn enhanced() -> [(&'static str, Value); 4] {
    let forward = |fourccs: &[&str]| {
        Value::object(
            ["*"]
                .iter()
                .chain(fourccs)
                .map(|&fourcc| (fourcc, CAN_FORWARD)),
        )
    };
    let all = VIDEO_FOURCCS
        .iter()
        .chain(&AUDIO_FOURCCS)
        .map(|&fourcc| Value::from(fourcc));
    [
        ("fourCcList", Value::StrictArray(all.collect())),
        ("videoFourCcInfoMap", forward(&VIDEO_FOURCCS)),
        ("audioFourCcInfoMap", forward(&AUDIO_FOURCCS)),
        ("capsEx", Value::Number(CAPS_EX)),
    ]
}

/// The answer to an accepted connect. `server` is the name and version of this server.
pub(crate) fn connect_result(transaction: f64, server: &str) -> BytesMut {
    let mut properties = vec![
        // In the form of Flash Media Server, which is what clients parse that parse it.
        ("fmsVer", Value::from("FMS/3,5,3,888")),
        ("capabilities", Value::Number(31.0)),
        ("mode", Value::Number(1.0)),
    ];
    properties.extend(enhanced());
    let properties = Value::object(properties);
    let mut info = info(
        "status",
        "NetConnection.Connect.Success",
        "Connection succeeded.",
    );
    info.push(("objectEncoding".into(), Value::Number(0.0)));
    info.push(("server".into(), Value::from(server)));
    body("_result", transaction, &[properties, Value::Object(info)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::amf0::decode_all;

    #[test]
    fn a_name_is_all_that_a_command_must_have() {
        let command = Command::parse(&body("ping", 0.0, &[])).unwrap();
        assert_eq!(
            (command.name.as_str(), command.text(0), command.stream_id(0)),
            ("ping", "", None)
        );
        let command = Command::parse(b"\x02\x00\x01x").unwrap();
        assert_eq!((command.name.as_str(), command.transaction), ("x", 0.0));
        assert_eq!(Command::parse(b""), Err(CommandError::NoName));
        assert_eq!(Command::parse(b"\x05"), Err(CommandError::NoName));
        assert!(matches!(
            Command::parse(b"\x02\x00\x02x"),
            Err(CommandError::Amf0(_))
        ));
    }

    #[test]
    fn an_amf3_object_hides_only_what_follows_it() {
        let mut bytes = body("publish", 5.0, &[Value::Null, "name".into()]);
        bytes.extend_from_slice(b"\x11\x0a\x0b\x01");
        let command = Command::parse(&bytes).unwrap();
        assert_eq!((command.transaction, command.text(0)), (5.0, "name"));
    }

    #[test]
    fn fourccs_of_list_and_maps_are_joined_and_bounded() {
        let object = Value::object([
            ("app", Value::from("live")),
            (
                "fourCcList",
                Value::StrictArray(vec!["hvc1".into(), Value::Null, "av01".into()]),
            ),
            (
                "videoFourCcInfoMap",
                Value::object([("*", 4.0), ("hvc1", 3.0)]),
            ),
            ("capsEx", Value::Number(7.0)),
        ]);
        let connect = Command::parse(&body("connect", 1.0, &[object]))
            .unwrap()
            .connect()
            .unwrap();
        assert_eq!(connect.app, "live");
        assert_eq!(connect.fourcc_list, ["hvc1", "av01", "*"]);
        assert_eq!(connect.caps_ex, 7);

        let many = (0..1000).map(|i| Value::from(i.to_string())).collect();
        let object = Value::object([("fourCcList", Value::StrictArray(many))]);
        let connect = Command::parse(&body("connect", 1.0, &[object]))
            .unwrap()
            .connect()
            .unwrap();
        assert_eq!(connect.fourcc_list.len(), MAX_FOURCCS);
    }

    #[test]
    fn connect_without_an_object_is_none() {
        assert_eq!(
            Command::parse(&body("connect", 1.0, &[]))
                .unwrap()
                .connect(),
            None
        );
        assert_eq!(
            Command::parse(&body("connect", 1.0, &[Value::Null]))
                .unwrap()
                .connect(),
            None
        );
    }

    #[test]
    fn play_arguments_and_their_defaults() {
        let play = Command::parse(&body("play", 0.0, &[Value::Null, "s".into()]))
            .unwrap()
            .play(1);
        assert_eq!((play.start, play.duration, play.reset), (-2.0, -1.0, true));
        let arguments = [
            Value::Null,
            "s".into(),
            (-1.0).into(),
            5.0.into(),
            false.into(),
        ];
        let play = Command::parse(&body("play", 0.0, &arguments))
            .unwrap()
            .play(1);
        assert_eq!((play.start, play.duration, play.reset), (-1.0, 5.0, false));
    }

    #[test]
    fn connect_result_states_what_passes() {
        let values = decode_all(&connect_result(1.0, "pingora-live/1.2.3")).unwrap();
        assert_eq!(values[0].as_str(), Some("_result"));
        let properties = &values[2];
        let Some(Value::StrictArray(list)) = properties.get("fourCcList") else {
            panic!("{properties:?}")
        };
        assert_eq!(list.len(), 11);
        for (map, key) in [
            ("videoFourCcInfoMap", "av01"),
            ("audioFourCcInfoMap", "ec-3"),
            ("audioFourCcInfoMap", "*"),
        ] {
            assert_eq!(
                properties.get(map).unwrap().get(key).unwrap().as_f64(),
                Some(4.0)
            );
        }
        assert_eq!(properties.get("capsEx").unwrap().as_f64(), Some(14.0));
        assert_eq!(
            values[3].get("code").unwrap().as_str(),
            Some("NetConnection.Connect.Success")
        );
        assert_eq!(
            values[3].get("server").unwrap().as_str(),
            Some("pingora-live/1.2.3")
        );
    }

    #[test]
    fn absurd_stream_ids_are_none() {
        for number in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let command =
                Command::parse(&body("deleteStream", 0.0, &[Value::Null, number.into()])).unwrap();
            assert_eq!(command.stream_id(0), None, "{number}");
        }
    }
}
