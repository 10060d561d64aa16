//! Who connects through a balancer of layer 4: the header of "The PROXY protocol, versions 1 & 2" (HAProxy),
//! with which such a connection begins. Version 1 is a line of text (section 2.1), version 2 is binary
//! (section 2.2).
//!
//! What is no whole, well-formed header is refused, never guessed at (section 2). [`read`] asks for no byte
//! beyond the header, however little of it came: what follows belongs to TLS or HTTP. Of the TLVs only a
//! checksum counts (section 2.2.3), and nothing that they tell of TLS is believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its CRLF (section 2.1).
const LONGEST_LINE: usize = 107;
/// The shortest: `PROXY UNKNOWN` and CRLF.
const SHORTEST_LINE: usize = 15;
const LINE_BEGINS: &[u8] = b"PROXY ";

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, and the length of the rest.
const FIXED: usize = 16;
/// The longest header of version 2 that is read. The length field could say 65,551; senders put addresses and
/// a few short TLVs in it, and nginx reads no more either.
pub const LONGEST: usize = 4096;
/// `PP2_TYPE_CRC32C`
const CHECKSUM: u8 = 0x03;

/// The one whose connection it is, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// That of a client at this address. An IPv4-mapped address is the IPv4 address.
    Client(SocketAddr),
    /// The balancer's own, or that of a client without an IP address: the connection's own addresses count.
    Own,
}

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many bytes of it, never 0, are still to come.
    Missing(usize),
    Whole(Announced),
}

/// It is no header of this protocol, or a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no well-formed header of the PROXY protocol")]
pub struct Malformed;

/// Reads a header of which so much has come, and nothing after it.
///
/// # Errors
/// [`Malformed`] as soon as nothing that may follow makes it a header.
pub fn read(header: &[u8]) -> Result<Progress, Malformed> {
    let begins_as = |prefix: &[u8]| prefix.iter().zip(header).all(|(expected, byte)| expected == byte);
    match header.first() {
        Some(b'\r') if begins_as(SIGNATURE) => read_binary(header),
        // Where nothing has come yet: the shortest line is shorter than what any other header begins with.
        _ if begins_as(LINE_BEGINS) => read_line(header),
        _ => Err(Malformed),
    }
}

fn read_line(header: &[u8]) -> Result<Progress, Malformed> {
    if header.len() > LONGEST_LINE {
        return Err(Malformed);
    }
    let Some(line) = header.strip_suffix(b"\n") else {
        let ends = usize::from(!header.ends_with(b"\r")).saturating_add(1);
        let missing = SHORTEST_LINE.saturating_sub(header.len()).max(ends);
        if header.len().saturating_add(missing) > LONGEST_LINE {
            return Err(Malformed);
        }
        // A CR or LF within it would have been its end.
        let before = header.strip_suffix(b"\r").unwrap_or(header);
        return if before.iter().all(|byte| is_of_line(*byte)) {
            Ok(Progress::Missing(missing))
        } else {
            Err(Malformed)
        };
    };
    let line = line.strip_suffix(b"\r").ok_or(Malformed)?;
    if !line.iter().all(|byte| is_of_line(*byte)) {
        return Err(Malformed);
    }
    let line = str::from_utf8(line).map_err(|_| Malformed)?.strip_prefix("PROXY ").ok_or(Malformed)?;
    let (protocol, addresses) = line.split_once(' ').unwrap_or((line, ""));
    let announced = match protocol {
        // Whatever follows is ignored.
        "UNKNOWN" => Announced::Own,
        "TCP4" => client::<Ipv4Addr>(addresses)?,
        "TCP6" => client::<Ipv6Addr>(addresses)?,
        _ => return Err(Malformed),
    };
    Ok(Progress::Whole(announced))
}

const fn is_of_line(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Both addresses, then both ports, with one space between each.
fn client<A: std::str::FromStr + Into<IpAddr>>(addresses: &str) -> Result<Announced, Malformed> {
    let mut words = addresses.split(' ');
    let mut word = || words.next().ok_or(Malformed);
    let [source, destination] = [word()?, word()?];
    let [source_port, destination_port] = [word()?, word()?];
    if words.next().is_some() {
        return Err(Malformed);
    }
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| Malformed);
    address(destination)?;
    port(destination_port)?;
    Ok(at(address(source)?, port(source_port)?))
}

/// Decimal, without leading zeros (section 2.1).
fn port(text: &str) -> Result<u16, Malformed> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(Malformed)
}

fn at(address: IpAddr, port: u16) -> Announced {
    Announced::Client(SocketAddr::new(address.to_canonical(), port))
}

fn read_binary(header: &[u8]) -> Result<Progress, Malformed> {
    let version_and_command = header.get(12);
    if version_and_command.is_some_and(|byte| !matches!(byte, 0x20 | 0x21)) {
        return Err(Malformed);
    }
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED>() else {
        return Ok(Progress::Missing(FIXED.saturating_sub(header.len())));
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST.saturating_sub(FIXED) {
        return Err(Malformed);
    }
    let is_local = version_and_command == 0x20;
    // What LOCAL says of family and addresses is discarded.
    let addresses = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // Datagrams come on no connection, and no other value is assigned.
        _ => return Err(Malformed),
    };
    if length < addresses {
        return Err(Malformed);
    }
    match length.checked_sub(rest.len()) {
        None => return Err(Malformed),
        Some(0) => {}
        Some(missing) => return Ok(Progress::Missing(missing)),
    }
    let Some((addresses, options)) = rest.split_at_checked(addresses) else { return Err(Malformed) };
    if is_local || family == 0x00 {
        return Ok(Progress::Whole(Announced::Own));
    }
    check_options(header, options)?;
    let announced = match (family, addresses) {
        (0x11, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            at(Ipv4Addr::new(*a, *b, *c, *d).into(), u16::from_be_bytes([*high, *low]))
        }
        (0x21, addresses) => {
            let source = addresses.first_chunk::<16>().ok_or(Malformed)?;
            let port = addresses.get(32..).and_then(|ports| ports.first_chunk::<2>()).ok_or(Malformed)?;
            at(Ipv6Addr::from(*source).into(), u16::from_be_bytes(*port))
        }
        _ => Announced::Own,
    };
    Ok(Progress::Whole(announced))
}

/// Goes through the TLVs at the end of a header. A checksum among them must be right (section 2.2.3).
fn check_options(header: &[u8], mut options: &[u8]) -> Result<(), Malformed> {
    let mut checksum = None;
    while let Some((kind, rest)) = options.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let (value, rest) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(Malformed)?;
        if *kind == CHECKSUM {
            let value = <[u8; 4]>::try_from(value).map_err(|_| Malformed)?;
            let at = header.len().saturating_sub(rest.len()).saturating_sub(value.len());
            if checksum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(Malformed);
            }
        }
        options = rest;
    }
    match checksum {
        Some((at, told)) if crc32c(header, at) != told => Err(Malformed),
        _ => Ok(()),
    }
}

/// The checksum of a header (RFC 9260 appendix A) in which its own four bytes, which begin at `at`, are 0.
fn crc32c(header: &[u8], at: usize) -> u32 {
    let own = at..at.saturating_add(4);
    !header.iter().enumerate().fold(u32::MAX, |sum, (index, byte)| {
        let byte = if own.contains(&index) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            (sum >> 1) ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(header: &[u8]) -> Option<Announced> {
        match read(header) {
            Ok(Progress::Whole(announced)) => Some(announced),
            _ => None,
        }
    }

    fn client_at(address: &str) -> Option<Announced> {
        Some(Announced::Client(address.parse().unwrap()))
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [203, 0, 113, 9, 10, 0, 0, 1, 0xd4, 0x31, 1, 0xbb];

    #[test]
    fn a_line_names_the_client_or_nobody() {
        for (line, expected) in [
            ("PROXY TCP4 203.0.113.9 10.0.0.1 54321 443\r\n", client_at("203.0.113.9:54321")),
            ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", client_at("0.0.0.0:0")),
            ("PROXY TCP6 2001:DB8::9 2001:db8::1 54321 443\r\n", client_at("[2001:db8::9]:54321")),
            ("PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", client_at("203.0.113.9:1")),
            ("PROXY UNKNOWN\r\n", Some(Announced::Own)),
            ("PROXY UNKNOWN ff:ff anything 0 x\r\n", Some(Announced::Own)),
        ] {
            assert_eq!(whole(line.as_bytes()), expected, "{line}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 16));
        assert_eq!((longest.len(), whole(longest.as_bytes())), (LONGEST_LINE, Some(Announced::Own)));
    }

    #[test]
    fn a_line_that_could_be_read_otherwise_is_refused() {
        for line in [
            "PROXY TCP4 203.0.113.9 10.0.0.1 54321 443\n",
            "PROXY TCP4 203.0.113.9  10.0.0.1 54321 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 54321 443 \r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 054321 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 +54321 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 1 \r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n",
            "PROXY TCP4 203.0.113.09 10.0.0.1 1 2\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0 1 2\r\n",
            "PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n",
            "PROXY TCP6 203.0.113.9 10.0.0.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
            "PROXY  TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY UNKNOWN\rx\r\n",
            "PROXY UNKNOWN \u{e9}\r\n",
            "proxy UNKNOWN\r\n",
            "GET / HTTP/1.1\r\n",
            "\r\n\r\nGET",
            "PROXY\tUNKNOWN\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed), "{line:?}");
        }
        let too_long = format!("PROXY UNKNOWN {}", "f".repeat(LONGEST_LINE - 15));
        assert_eq!(read(too_long.as_bytes()), Err(Malformed), "no CRLF has room any more");
    }

    #[test]
    fn a_binary_header_names_the_client_or_nobody() {
        let v6 = |address: &str| {
            let address: Ipv6Addr = address.parse().unwrap();
            [&address.octets()[..], &[0; 16], &[0xd4, 0x31, 1, 0xbb]].concat()
        };
        let with_option = [&V4[..], &[0x04, 0, 3, 1, 2, 3], &[0x20, 0, 0]].concat();
        for (header, expected) in [
            (binary(0x21, 0x11, &V4), client_at("203.0.113.9:54321")),
            (binary(0x21, 0x11, &with_option), client_at("203.0.113.9:54321")),
            (binary(0x21, 0x21, &v6("2001:db8::9")), client_at("[2001:db8::9]:54321")),
            (binary(0x21, 0x21, &v6("::ffff:203.0.113.9")), client_at("203.0.113.9:54321")),
            (binary(0x21, 0x31, &[b'a'; 216]), Some(Announced::Own)),
            (binary(0x21, 0x00, &[]), Some(Announced::Own)),
            (binary(0x21, 0x00, &[1, 2, 3]), Some(Announced::Own)),
            (binary(0x20, 0x00, &[]), Some(Announced::Own)),
            (binary(0x20, 0x11, &V4), Some(Announced::Own)),
            (binary(0x20, 0xff, &[1]), Some(Announced::Own)),
            (binary(0x20, 0x00, &[0; LONGEST - FIXED]), Some(Announced::Own)),
        ] {
            assert_eq!(whole(&header), expected, "{header:?}");
        }
    }

    #[test]
    fn a_binary_header_that_is_not_as_it_must_be_is_refused() {
        let with = |option: &[u8]| binary(0x21, 0x11, &[&V4[..], option].concat());
        for header in [
            binary(0x11, 0x11, &V4),
            binary(0x22, 0x11, &V4),
            binary(0x31, 0x11, &V4),
            binary(0x21, 0x12, &V4),
            binary(0x21, 0x22, &[0; 36]),
            binary(0x21, 0x10, &V4),
            binary(0x21, 0x41, &[0; 216]),
            binary(0x21, 0x11, &V4[..11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x20, 0x00, &[0; LONGEST - FIXED + 1]),
            with(&[0x04]),
            with(&[0x04, 0, 2, 1]),
            with(&[CHECKSUM, 0, 3, 1, 2, 3]),
            [binary(0x21, 0x11, &V4), vec![0]].concat(),
            [&SIGNATURE[..11], &[0]].concat(),
        ] {
            assert_eq!(read(&header), Err(Malformed), "{header:?}");
        }
    }

    #[test]
    fn a_checksum_that_is_there_must_be_right() {
        // RFC 9260 appendix A names this polynomial; its check value is known.
        assert_eq!(crc32c(b"123456789", 9), 0xe306_9283);
        let header = |sum: u32, times: usize| {
            let option = [&[CHECKSUM, 0, 4][..], &sum.to_be_bytes()].concat().repeat(times);
            binary(0x21, 0x11, &[&V4[..], &[0x04, 0, 1, 7], &option, &[0x05, 0, 1, 9]].concat())
        };
        let sum = crc32c(&header(0, 1), FIXED + 12 + 4 + 3);
        assert_eq!(whole(&header(sum, 1)), client_at("203.0.113.9:54321"));
        assert_eq!(read(&header(sum ^ 1, 1)), Err(Malformed));
        assert_eq!(read(&header(sum, 2)), Err(Malformed));
        let mut other = header(sum, 1);
        other[FIXED] ^= 1;
        assert_eq!(read(&other), Err(Malformed), "the checksum is over the addresses, too");
    }

    /// However it is split, and never more of it is asked for than there is.
    #[test]
    fn a_part_of_a_header_asks_for_no_byte_beyond_it() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 54321 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::9 2001:db8::1 54321 443\r\n".to_vec(),
            binary(0x20, 0x00, &[]),
            binary(0x21, 0x11, &[&V4[..], &[0x04, 0, 1, 7]].concat()),
        ] {
            for length in 0..header.len() {
                let Ok(Progress::Missing(missing)) = read(&header[..length]) else {
                    panic!("{length} of {header:?}")
                };
                assert!(missing > 0 && length + missing <= header.len(), "{length} of {header:?}");
            }
        }
    }
}
