//! AMF0, as much of it as the RTMP test client says and hears.

/// A value to say.
pub enum Amf<'a> {
    Number(f64),
    Bool(bool),
    Text(&'a str),
    Null,
    Object(Vec<(&'a str, Amf<'a>)>),
    /// ECMA array, as onMetaData is sent.
    Array(Vec<(&'a str, Amf<'a>)>),
}

/// The bytes of some values after each other.
pub fn encode(values: &[Amf<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        put(value, &mut out);
    }
    out
}

fn put(value: &Amf<'_>, out: &mut Vec<u8>) {
    match value {
        Amf::Number(number) => {
            out.push(0);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Amf::Bool(yes) => out.extend_from_slice(&[1, u8::from(*yes)]),
        Amf::Text(text) => {
            out.push(2);
            put_name(text, out);
        }
        Amf::Null => out.push(5),
        Amf::Object(properties) => {
            out.push(3);
            put_properties(properties, out);
        }
        Amf::Array(properties) => {
            out.push(8);
            out.extend_from_slice(&u32::try_from(properties.len()).expect("few").to_be_bytes());
            put_properties(properties, out);
        }
    }
}

fn put_properties(properties: &[(&str, Amf<'_>)], out: &mut Vec<u8>) {
    for (name, value) in properties {
        put_name(name, out);
        put(value, out);
    }
    out.extend_from_slice(&[0, 0, 9]);
}

fn put_name(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(text.len()).expect("short").to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The name of a command message, its first string.
pub fn command_name(body: &[u8]) -> Option<String> {
    let [2, high, low, rest @ ..] = body else {
        return None;
    };
    let size = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(..size)
        .map(|text| String::from_utf8_lossy(text).into_owned())
}

/// The number that follows a property's name anywhere in a body.
pub fn number_property(body: &[u8], name: &str) -> Option<f64> {
    let at = find(body, name)?;
    let [0, rest @ ..] = body.get(at + name.len()..)? else {
        return None;
    };
    Some(f64::from_be_bytes(rest.get(..8)?.try_into().ok()?))
}

/// The string that follows a property's name anywhere in a body.
pub fn text_property(body: &[u8], name: &str) -> Option<String> {
    let at = find(body, name)?;
    command_name(body.get(at + name.len()..)?)
}

/// True if a body has a property of that name (a name with its length before it).
pub fn has_property(body: &[u8], name: &str) -> bool {
    let Ok(size) = u16::try_from(name.len()) else {
        return false;
    };
    let mut wanted = size.to_be_bytes().to_vec();
    wanted.extend_from_slice(name.as_bytes());
    body.windows(wanted.len()).any(|window| window == wanted)
}

fn find(body: &[u8], name: &str) -> Option<usize> {
    body.windows(name.len())
        .position(|window| window == name.as_bytes())
}
