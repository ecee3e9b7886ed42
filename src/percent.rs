//! Percent-encoding, read (RFC 3986 §2.1).

/// Decodes a text once. `None` when a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|byte| char::from(byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (high, low) = (digit()?, digit()?);
        bytes.push(high << 4 | low);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn it_is_decoded_once_and_whole() {
        assert_eq!(decode("a%20b%2fc").as_deref(), Some(&b"a b/c"[..]));
        assert_eq!(decode("%2541").as_deref(), Some(&b"%41"[..]));
        assert_eq!(decode("%ff").as_deref(), Some(&[0xff][..]));
        for bad in ["%", "%2", "%zz", "a%", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
