//! Percent-encoding of single bytes (RFC 3986 section 2.1), in upper-case digits. What must be encoded
//! is decided by who calls.

/// Appends `%XX`.
pub fn encode(byte: u8, out: &mut String) {
    out.push('%');
    for nibble in [byte >> 4, byte & 0xf] {
        out.push(char::from_digit(u32::from(nibble), 16).unwrap_or_default().to_ascii_uppercase());
    }
}

/// The value of a hexadecimal digit.
pub fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Decodes every percent-escape once; a percent sign without two hexadecimal digits stays.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%'
            && let [high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = behind;
        } else {
            out.push(byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255 {
            let mut text = String::new();
            encode(byte, &mut text);
            assert_eq!(text, format!("%{byte:02X}"));
            assert_eq!(decode(text.to_lowercase().as_bytes()), [byte]);
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decode(b"100%, %4 %zz %41%"), b"100%, %4 %zz A%");
    }
}
