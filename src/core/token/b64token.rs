//! What an access token is spelled with (RFC 6750 section 2.1).

/// `b64token` of RFC 6750 section 2.1: at least one character, then any number of `=`.
pub(super) fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    // To the end, whatever is found: nearly all are good, and so it is done many bytes at a time.
    !body.is_empty() && body.bytes().fold(true, |good, byte| good & is_b64(byte))
}

/// Letters, digits, and `-._~+/`, of which `-./` stand just before the digits.
const fn is_b64(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    is_letter | (byte.wrapping_sub(b'-') <= b'9' - b'-') | (byte == b'_') | (byte == b'~') | (byte == b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_of_a_token_is_that_of_rfc_6750() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_b64(byte), expected, "{byte:#x}");
        }
    }
}
