//! AMF0: the value format of RTMP commands and of FLV script tags.
//!
//! [`decode`] reads one value and advances its input; [`encode`] appends one. Both are pure functions over
//! bytes. The reader never trusts a length or a count that the peer declares: nothing is reserved before the
//! bytes are there, nesting is bounded by [`MAX_DEPTH`], the number of values by [`MAX_VALUES`], and a string
//! by [`MAX_STRING_BYTES`]. An input that only nests, or that says "four billion elements", costs a few hundred
//! bytes and an error.
//!
//! Tolerated, because it is in the wild:
//! - strings that are not UTF-8 (old Windows encoders write the system code page into onMetaData): each bad
//!   sequence becomes U+FFFD;
//! - an ECMA array whose count is wrong (most writers put 0 or leave properties out): the count is a hint, the end
//!   marker decides; and one without the end marker when its count was reached and the input ends there (FLV
//!   writers of the Flash 7 age);
//! - a boolean that is neither 0 nor 1: every other value is true.
//!
//! Cited as "AMF0": *Action Message Format, AMF 0*, Adobe 2007.

#[cfg(test)]
mod tests;

use bytes::{BufMut, BytesMut};

/// How deep values may nest, counted in containers.
///
/// The deepest known onMetaData (a keyframe index) and E-RTMP connect objects need 3. The reader recurses once for
/// each level, so this also bounds the stack.
pub const MAX_DEPTH: usize = 32;

/// How many values one call of [`decode`] or [`decode_all`] may produce, containers and elements counted.
///
/// A null takes one byte on the wire and about 56 in memory, so this caps that leverage at 4 MB, for as long as the
/// values live. A keyframe index of a day of video with one keyframe in two seconds does not fit; one of 16 hours does.
pub const MAX_VALUES: usize = 65_536;

/// Longest string, XML document or property name, in bytes.
///
/// Strings are copied out of the input. Metadata with an embedded XMP packet is tens of KB.
pub const MAX_STRING_BYTES: usize = 1 << 20;

/// An AMF0 value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A double (AMF0 §2.2).
    Number(f64),
    /// AMF0 §2.3.
    Boolean(bool),
    /// A string; [`encode`] writes the short form up to 65,535 bytes and the long form beyond (AMF0 §2.4, §2.14).
    String(String),
    /// An anonymous object, properties in wire order, names not necessarily unique (AMF0 §2.5).
    Object(Vec<(String, Value)>),
    /// AMF0 §2.7.
    Null,
    /// AMF0 §2.8.
    Undefined,
    /// An associative array; what most encoders use for onMetaData (AMF0 §2.10).
    EcmaArray(Vec<(String, Value)>),
    /// An array by index (AMF0 §2.12).
    StrictArray(Vec<Value>),
    /// A point in time (AMF0 §2.13).
    Date {
        /// Milliseconds since the Unix epoch, UTC.
        ms: f64,
        /// Minutes from UTC as sent; the specification wants 0.
        tz_minutes: i16,
    },
    /// An XML document as text (AMF0 §2.17).
    Xml(String),
    /// An object with a class name (AMF0 §2.18).
    Typed {
        /// The class name.
        class: String,
        /// Properties in wire order.
        properties: Vec<(String, Value)>,
    },
    /// Index of an earlier object of the same message (AMF0 §2.9); handed out as it is, not resolved.
    Reference(u16),
    /// The writer's "cannot be serialised" (AMF0 §2.15).
    Unsupported,
}

/// Why bytes are not the AMF0 that was expected. Every offset counts from the start of the input of the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Amf0Error {
    /// The input ends inside a value.
    #[error("AMF0 ends at byte {offset} inside {reading}")]
    UnexpectedEnd {
        /// Where the missing bytes would start.
        offset: usize,
        /// What was being read.
        reading: &'static str,
    },
    /// A type marker that AMF0 does not define, or reserves.
    #[error("AMF0 byte {offset}: {marker:#04x} is no type marker")]
    UnknownMarker {
        /// Where the marker is.
        offset: usize,
        /// The marker.
        marker: u8,
    },
    /// The switch to AMF3 (AMF0 §3.1): valid, but AMF3 values are not read here.
    #[error("AMF0 byte {offset}: an AMF3 value, which is not supported")]
    Amf3 {
        /// Where the marker is.
        offset: usize,
    },
    /// More than [`MAX_DEPTH`] containers in each other.
    #[error("AMF0 byte {offset}: nested more than {MAX_DEPTH} deep")]
    TooDeep {
        /// Where the container starts that is one too many.
        offset: usize,
    },
    /// More than [`MAX_VALUES`] values.
    #[error("AMF0 byte {offset}: more than {MAX_VALUES} values")]
    TooManyValues {
        /// Where the value starts that is one too many.
        offset: usize,
    },
    /// A string longer than [`MAX_STRING_BYTES`].
    #[error("AMF0 byte {offset}: a string of {length} bytes, more than {MAX_STRING_BYTES}")]
    StringTooLong {
        /// Where the length field is.
        offset: usize,
        /// The declared length in bytes.
        length: usize,
    },
}

// AMF0 §2.1: type markers.
const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const REFERENCE: u8 = 0x07;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED: u8 = 0x10;
const AVMPLUS: u8 = 0x11;

impl Value {
    /// The property `key` of an object, ECMA array or typed object; the first when the name is there twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.properties()?
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// The properties of an object, ECMA array or typed object, in wire order.
    pub fn properties(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Object(properties)
            | Value::EcmaArray(properties)
            | Value::Typed { properties, .. } => Some(properties),
            _ => None,
        }
    }

    /// An object of the given properties, in that order.
    pub fn object<K: Into<String>, V: Into<Value>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Value {
        Value::Object(
            properties
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Value::Boolean(boolean)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

/// Reads one value and advances `input` past it. On an error `input` is left as it was.
///
/// # Errors
/// [`Amf0Error`], with the offset from the start of `input`.
pub fn decode(input: &mut &[u8]) -> Result<Value, Amf0Error> {
    let mut reader = Reader::new(input);
    let value = reader.value(0)?;
    *input = reader.rest;
    Ok(value)
}

/// Reads values until the input ends; [`MAX_VALUES`] holds for all of them together.
///
/// # Errors
/// [`Amf0Error`], with the offset from the start of `input`.
pub fn decode_all(input: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut reader = Reader::new(input);
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

/// Like [`decode_all`], but keeps what was read before an error: the values of a command that end in something
/// unreadable, such as an AMF3 object after a readable name, transaction and stream name.
pub fn decode_prefix(input: &[u8]) -> (Vec<Value>, Option<Amf0Error>) {
    let mut reader = Reader::new(input);
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        match reader.value(0) {
            Ok(value) => values.push(value),
            Err(error) => return (values, Some(error)),
        }
    }
    (values, None)
}

/// Appends one value.
///
/// What the format cannot hold is cut, at a character boundary: property and class names at 65,535 bytes, other strings at 4 GiB.
/// A property with an empty name is left out, since on the wire an empty name announces the end of the object.
pub fn encode(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Number(number) => {
            out.put_u8(NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(boolean) => {
            out.put_u8(BOOLEAN);
            out.put_u8(u8::from(*boolean));
        }
        Value::String(text) => match u16::try_from(text.len()) {
            Ok(length) => {
                out.put_u8(STRING);
                out.put_u16(length);
                out.put_slice(text.as_bytes());
            }
            Err(_) => {
                out.put_u8(LONG_STRING);
                put_long(text, out);
            }
        },
        Value::Object(properties) => {
            out.put_u8(OBJECT);
            put_properties(properties, out);
        }
        Value::Null => out.put_u8(NULL),
        Value::Undefined => out.put_u8(UNDEFINED),
        Value::EcmaArray(properties) => {
            out.put_u8(ECMA_ARRAY);
            let count = properties
                .iter()
                .filter(|(name, _)| !name.is_empty())
                .count();
            out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
            put_properties(properties, out);
        }
        Value::StrictArray(values) => {
            out.put_u8(STRICT_ARRAY);
            let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
            out.put_u32(count);
            for value in values.iter().take(count as usize) {
                encode(value, out);
            }
        }
        Value::Date { ms, tz_minutes } => {
            out.put_u8(DATE);
            out.put_f64(*ms);
            out.put_i16(*tz_minutes);
        }
        Value::Xml(text) => {
            out.put_u8(XML);
            put_long(text, out);
        }
        Value::Typed { class, properties } => {
            out.put_u8(TYPED);
            put_short(class, out);
            put_properties(properties, out);
        }
        Value::Reference(index) => {
            out.put_u8(REFERENCE);
            out.put_u16(*index);
        }
        Value::Unsupported => out.put_u8(UNSUPPORTED),
    }
}

fn put_properties(properties: &[(String, Value)], out: &mut BytesMut) {
    for (name, value) in properties.iter().filter(|(name, _)| !name.is_empty()) {
        put_short(name, out);
        encode(value, out);
    }
    out.put_u16(0);
    out.put_u8(OBJECT_END);
}

fn put_short(text: &str, out: &mut BytesMut) {
    let text = cut(text, usize::from(u16::MAX));
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn put_long(text: &str, out: &mut BytesMut) {
    let text = cut(text, u32::MAX as usize);
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

/// The longest prefix of `text` that has at most `max` bytes and ends between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn new(input: &'a [u8]) -> Self {
        Reader {
            rest: input,
            length: input.len(),
            values: 0,
        }
    }

    fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    fn take(&mut self, count: usize, reading: &'static str) -> Result<&'a [u8], Amf0Error> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(Amf0Error::UnexpectedEnd {
                offset: self.length,
                reading,
            }),
        }
    }

    fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], Amf0Error> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(Amf0Error::UnexpectedEnd {
                offset: self.length,
                reading,
            }),
        }
    }

    /// `depth`: how many containers the value is in.
    fn value(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        let offset = self.offset();
        let [marker] = self.array("a type marker")?;
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Amf0Error::TooManyValues { offset });
        }
        if depth >= MAX_DEPTH && matches!(marker, OBJECT | ECMA_ARRAY | STRICT_ARRAY | TYPED) {
            return Err(Amf0Error::TooDeep { offset });
        }
        Ok(match marker {
            NUMBER => Value::Number(f64::from_be_bytes(self.array("a number")?)),
            BOOLEAN => Value::Boolean(self.array("a boolean")? != [0]),
            STRING => Value::String(self.short("a string")?),
            OBJECT => Value::Object(self.properties(depth, None)?),
            NULL => Value::Null,
            UNDEFINED => Value::Undefined,
            REFERENCE => Value::Reference(u16::from_be_bytes(self.array("a reference")?)),
            ECMA_ARRAY => {
                let count = u32::from_be_bytes(self.array("an ECMA array's count")?);
                Value::EcmaArray(self.properties(depth, Some(count))?)
            }
            STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.array("a strict array's count")?);
                // Not `with_capacity(count)`: the count is the peer's word, the elements are proof.
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            DATE => Value::Date {
                ms: f64::from_be_bytes(self.array("a date")?),
                tz_minutes: i16::from_be_bytes(self.array("a date's time zone")?),
            },
            LONG_STRING => Value::String(self.long("a long string")?),
            UNSUPPORTED => Value::Unsupported,
            XML => Value::Xml(self.long("an XML document")?),
            TYPED => {
                let class = self.short("a class name")?;
                Value::Typed {
                    class,
                    properties: self.properties(depth, None)?,
                }
            }
            AVMPLUS => return Err(Amf0Error::Amf3 { offset }),
            _ => return Err(Amf0Error::UnknownMarker { offset, marker }),
        })
    }

    /// Properties up to and with the end marker. `count`: what an ECMA array declared.
    fn properties(
        &mut self,
        depth: usize,
        count: Option<u32>,
    ) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut properties = Vec::new();
        loop {
            // Flash 7 age writers: an ECMA array may just stop when all that it announced is there.
            if self.rest.is_empty() && count.is_some_and(|count| properties.len() >= count as usize)
            {
                return Ok(properties);
            }
            // AMF0 §2.11: an empty name and the end marker. An empty name before any other marker is a property.
            if let Some(rest) = self.rest.strip_prefix(&[0, 0, OBJECT_END]) {
                self.rest = rest;
                return Ok(properties);
            }
            let name = self.short("a property name")?;
            let value = self.value(depth + 1)?;
            properties.push((name, value));
        }
    }

    fn short(&mut self, reading: &'static str) -> Result<String, Amf0Error> {
        let length = u16::from_be_bytes(self.array(reading)?);
        Ok(text(self.take(usize::from(length), reading)?))
    }

    fn long(&mut self, reading: &'static str) -> Result<String, Amf0Error> {
        let offset = self.offset();
        let length = u32::from_be_bytes(self.array(reading)?) as usize;
        if length > MAX_STRING_BYTES {
            return Err(Amf0Error::StringTooLong { offset, length });
        }
        Ok(text(self.take(length, reading)?))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
