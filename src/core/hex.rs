//! Bytes as hexadecimal digits in lower case, two a byte, and nothing else.

use std::fmt::{self, Write};

/// The digits of a byte.
const fn digits(byte: u8) -> [u8; 2] {
    const fn digit(half: u8) -> u8 {
        if half < 10 { b'0' + half } else { b'a' + half - 10 }
    }
    [digit(byte >> 4), digit(byte & 0xf)]
}

/// So many bytes are written at once.
const BYTES_AT_ONCE: usize = 16;

/// Writes them.
///
/// # Errors
/// Only when `to` cannot be written to.
pub fn write(to: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    for some in bytes.chunks(BYTES_AT_ONCE) {
        let mut text = [[0; 2]; BYTES_AT_ONCE];
        text.iter_mut().zip(some).for_each(|(pair, byte)| *pair = digits(*byte));
        let text = text.get(..some.len()).unwrap_or_default().as_flattened();
        to.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

/// What [`write()`] wrote of so many bytes; `None` for everything else.
pub fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut text = String::new();
        write(&mut text, &[0, 0x1f, 0xff]).unwrap();
        assert_eq!(text, "001fff");
        assert_eq!(read(&text), Some([0, 0x1f, 0xff]));
        let long: [u8; 40] = std::array::from_fn(|at| at as u8 * 6);
        let mut text = String::new();
        write(&mut text, &long).unwrap();
        assert_eq!((text.len(), read(&text)), (80, Some(long)));
        for bad in ["", "0", "001ff", "001fff00", "001fFF", "+01fff", "0x1fff", "001ff\u{e9}", "001fg0"] {
            assert_eq!(read::<3>(bad), None, "{bad}");
        }
    }
}
