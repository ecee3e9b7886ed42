use super::*;
use proptest::prelude::*;

fn encoded(value: &Value) -> BytesMut {
    let mut out = BytesMut::new();
    encode(value, &mut out);
    out
}

#[test]
fn each_type_as_bytes() {
    let cases: &[(Value, &[u8])] = &[
        (Value::Number(1.0), b"\x00\x3f\xf0\0\0\0\0\0\0"),
        (Value::Boolean(true), b"\x01\x01"),
        (Value::String("live".into()), b"\x02\x00\x04live"),
        (
            Value::object([("a", true)]),
            b"\x03\x00\x01a\x01\x01\x00\x00\x09",
        ),
        (Value::Null, b"\x05"),
        (Value::Undefined, b"\x06"),
        (Value::Reference(258), b"\x07\x01\x02"),
        (
            Value::EcmaArray(vec![("w".into(), Value::Null)]),
            b"\x08\x00\x00\x00\x01\x00\x01w\x05\x00\x00\x09",
        ),
        (
            Value::StrictArray(vec![Value::Null, Value::Boolean(false)]),
            b"\x0a\x00\x00\x00\x02\x05\x01\x00",
        ),
        (
            Value::Date {
                ms: 1.0,
                tz_minutes: -1,
            },
            b"\x0b\x3f\xf0\0\0\0\0\0\0\xff\xff",
        ),
        (Value::Unsupported, b"\x0d"),
        (Value::Xml("<a/>".into()), b"\x0f\x00\x00\x00\x04<a/>"),
        (
            Value::Typed {
                class: "C".into(),
                properties: vec![("x".into(), Value::Null)],
            },
            b"\x10\x00\x01C\x00\x01x\x05\x00\x00\x09",
        ),
    ];
    for (value, bytes) in cases {
        assert_eq!(&encoded(value)[..], *bytes, "{value:?}");
        assert_eq!(decode_all(bytes), Ok(vec![value.clone()]));
        // Every proper prefix is incomplete, except where an ECMA array may stop after its last property.
        for end in 1..bytes.len() {
            let cut = decode_all(&bytes[..end]);
            if let (Value::EcmaArray(_), Ok(values)) = (value, &cut) {
                assert_eq!(values, std::slice::from_ref(value));
            } else {
                assert!(
                    matches!(cut, Err(Amf0Error::UnexpectedEnd { .. })),
                    "{value:?} cut at {end}: {cut:?}"
                );
            }
        }
    }
}

#[test]
fn a_string_of_65536_bytes_takes_the_long_form() {
    for (length, marker) in [(65_535, STRING), (65_536, LONG_STRING)] {
        let value = Value::String("x".repeat(length));
        let bytes = encoded(&value);
        assert_eq!(bytes.first(), Some(&marker));
        assert_eq!(decode_all(&bytes), Ok(vec![value]));
    }
}

#[test]
fn a_long_property_name_is_cut_between_characters() {
    let bytes = encoded(&Value::object([("ä".repeat(40_000), 1.0)]));
    let value = decode_all(&bytes).unwrap().remove(0);
    assert_eq!(value.properties().unwrap()[0].0, "ä".repeat(32_767));
}

#[test]
fn nesting_is_bounded() {
    for open in [
        &b"\x03\x00\x01a"[..],
        b"\x08\0\0\0\x01\x00\x01a",
        b"\x0a\0\0\0\x01",
        b"\x10\x00\x01C\x00\x01a",
    ] {
        let mut bytes = open.repeat(MAX_DEPTH);
        bytes.push(NULL);
        let (values, error) = decode_prefix(&bytes);
        assert!(
            !values.is_empty() || matches!(error, Some(Amf0Error::UnexpectedEnd { .. })),
            "{MAX_DEPTH} deep is accepted: {error:?}"
        );
        let bytes = open.repeat(10_000);
        let offset = open.len() * MAX_DEPTH;
        assert_eq!(decode_all(&bytes), Err(Amf0Error::TooDeep { offset }));
    }
}

#[test]
fn a_declared_count_reserves_nothing() {
    assert_eq!(
        decode_all(b"\x0a\xff\xff\xff\xff"),
        Err(Amf0Error::UnexpectedEnd {
            offset: 5,
            reading: "a type marker"
        })
    );
    assert_eq!(
        decode_all(b"\x08\xff\xff\xff\xff"),
        Err(Amf0Error::UnexpectedEnd {
            offset: 5,
            reading: "a property name"
        })
    );
    assert_eq!(
        decode_all(b"\x0c\xff\xff\xff\xff"),
        Err(Amf0Error::StringTooLong {
            offset: 1,
            length: 0xffff_ffff
        })
    );
    assert_eq!(
        decode_all(b"\x0c\x00\x00\xff\xff"),
        Err(Amf0Error::UnexpectedEnd {
            offset: 5,
            reading: "a long string"
        })
    );
}

#[test]
fn the_number_of_values_is_bounded() {
    let mut bytes = b"\x0a\xff\xff\xff\xff".to_vec();
    bytes.resize(5 + MAX_VALUES - 1, NULL);
    assert!(matches!(
        decode_all(&bytes),
        Err(Amf0Error::UnexpectedEnd { .. })
    ));
    bytes.push(NULL);
    assert_eq!(
        decode_all(&bytes),
        Err(Amf0Error::TooManyValues {
            offset: 5 + MAX_VALUES - 1
        })
    );
    assert!(matches!(
        decode_all(&[NULL; MAX_VALUES + 1]),
        Err(Amf0Error::TooManyValues { .. })
    ));
    assert_eq!(decode_all(&[NULL; MAX_VALUES]).unwrap().len(), MAX_VALUES);
}

#[test]
fn an_ecma_array_is_ended_by_its_marker_not_by_its_count() {
    let one = Ok(vec![
        Value::EcmaArray(vec![("w".into(), Value::Null)]),
        Value::Null,
    ]);
    for count in [0, 1, 200] {
        assert_eq!(
            decode_all(&[8, 0, 0, 0, count, 0, 1, b'w', NULL, 0, 0, 9, NULL]),
            one
        );
    }
    // No end marker at all: accepted only when the count is reached.
    assert!(decode_all(&[8, 0, 0, 0, 1, 0, 1, b'w', NULL]).is_ok());
    assert!(decode_all(&[8, 0, 0, 0, 2, 0, 1, b'w', NULL]).is_err());
}

#[test]
fn unknown_and_amf3_markers() {
    for marker in [0x04, 0x09, 0x0e, 0x12, 0xff] {
        assert_eq!(
            decode_all(&[NULL, marker]),
            Err(Amf0Error::UnknownMarker { offset: 1, marker })
        );
    }
    assert_eq!(
        decode_all(&[NULL, AVMPLUS, 1]),
        Err(Amf0Error::Amf3 { offset: 1 })
    );
    let (values, error) = decode_prefix(&[NULL, AVMPLUS, 1]);
    assert_eq!(
        (values, error),
        (vec![Value::Null], Some(Amf0Error::Amf3 { offset: 1 }))
    );
}

#[test]
fn bad_utf8_is_replaced() {
    assert_eq!(
        decode_all(b"\x02\x00\x03a\xe4b"),
        Ok(vec![Value::from("a\u{fffd}b")])
    );
}

#[test]
fn decode_advances_only_on_success() {
    let mut input = &b"\x05\x02\x00"[..];
    assert_eq!(decode(&mut input), Ok(Value::Null));
    assert!(decode(&mut input).is_err());
    assert_eq!(input, b"\x02\x00");
}

fn any_value() -> impl Strategy<Value = Value> {
    let name = "[a-zA-Zäö]{1,12}";
    let leaf = prop_oneof![
        any::<i32>().prop_map(|number| Value::Number(number.into())),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,40}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
        any::<u16>().prop_map(Value::Reference),
        ".{0,40}".prop_map(Value::Xml),
        (any::<i32>(), any::<i16>()).prop_map(|(ms, tz_minutes)| Value::Date {
            ms: ms.into(),
            tz_minutes
        }),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let properties = prop::collection::vec((name, inner.clone()), 0..8);
        prop_oneof![
            properties.clone().prop_map(Value::Object),
            properties.clone().prop_map(Value::EcmaArray),
            prop::collection::vec(inner, 0..8).prop_map(Value::StrictArray),
            ("[a-z.]{0,12}", properties)
                .prop_map(|(class, properties)| Value::Typed { class, properties }),
        ]
    })
}

proptest! {
    #[test]
    fn round_trip(values in prop::collection::vec(any_value(), 0..6)) {
        let mut out = BytesMut::new();
        for value in &values {
            encode(value, &mut out);
        }
        prop_assert_eq!(decode_all(&out), Ok(values));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_all(&bytes);
    }
}
