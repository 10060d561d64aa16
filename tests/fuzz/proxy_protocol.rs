//! A header of the PROXY protocol is read for what it says and no further, however it is split; an altered one
//! is read as a plain reader reads it, or refused.

use std::net::{IpAddr, SocketAddr};

use tollgate::core::proxy_protocol::{Announced, LONGEST, Progress, read};

use crate::choices::Choices;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A good header, and what it says.
fn good(choices: &mut Choices<'_>) -> (Vec<u8>, Announced) {
    let [a, b, port] = [choices.byte(), choices.byte(), choices.byte()];
    let (source, is_v4): (IpAddr, bool) = match choices.byte() % 3 {
        0 => ([203, 0, a, b].into(), true),
        1 => ([0x2001, 0xdb8, u16::from(a), 0, 0, 0, 0, u16::from(b)].into(), false),
        _ => ([0, 0, 0, 0, 0, 0xffff, 0xcb00, u16::from(a)].into(), false),
    };
    let client = Announced::Client(SocketAddr::new(source.to_canonical(), port.into()));
    match choices.byte() % 4 {
        0 => {
            let (protocol, other) = if is_v4 { ("TCP4", "10.0.0.1") } else { ("TCP6", "::1") };
            (format!("PROXY {protocol} {source} {other} {port} 443\r\n").into_bytes(), client)
        }
        1 => (
            (*choices.any(&["PROXY UNKNOWN\r\n", "PROXY UNKNOWN x\r\n"])).as_bytes().to_vec(),
            Announced::Own,
        ),
        kind => {
            let addresses = match source {
                IpAddr::V4(source) => [&source.octets()[..], &[10, 0, 0, 1]].concat(),
                IpAddr::V6(source) => [&source.octets()[..], &[0; 16]].concat(),
            };
            let options = [4].repeat(usize::from(choices.byte()));
            let length = u16::try_from(options.len()).unwrap().to_be_bytes();
            let rest = [&addresses, &[0, port, 1, 0xbb][..], &[0x04], &length, &options].concat();
            let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
            let (command, says) = if kind == 2 { (0x21, client) } else { (0x20, Announced::Own) };
            let family = if is_v4 { 0x11 } else { 0x21 };
            ([SIGNATURE, &[command, family], &length, &rest].concat(), says)
        }
    }
}

/// What comes of a stream of which at most so many bytes arrive at once, and how many of them were taken.
fn take(stream: &[u8], at_once: usize) -> (Option<Announced>, usize) {
    let mut taken = 0;
    loop {
        match read(&stream[..taken]) {
            Ok(Progress::Whole(announced)) => return (Some(announced), taken),
            Ok(Progress::Missing(missing)) => {
                assert!(missing > 0 && taken + missing <= LONGEST, "{missing} after {taken}");
                let more = missing.min(at_once).min(stream.len() - taken);
                if more == 0 {
                    return (None, taken);
                }
                taken += more;
            }
            Err(_) => return (None, taken),
        }
    }
}

#[test]
fn a_header_is_read_to_its_end_and_no_further_however_it_is_split() {
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, says) = good(&mut choices);
        let stream = [&header, choices.rest()].concat();
        for at_once in [1, 1 + choices.below(40), usize::MAX] {
            assert_eq!(take(&stream, at_once), (Some(says), header.len()), "{at_once}: {stream:?}");
        }
    });
}

#[test]
fn whatever_comes_has_one_reading_however_it_is_split() {
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, _) = good(&mut choices);
        let spare = ["\r\n", " ", "0", "PROXY ", "\0", "::", "TCP6", "\n", "\u{3}\0\u{4}"];
        let altered = choices.alter(&header, &spare);
        for stream in [altered.as_slice(), bytes, &[SIGNATURE, bytes].concat(), &[b"PROXY ", bytes].concat()]
        {
            let (whole, taken) = take(stream, usize::MAX);
            let (split, _) = take(stream, 1);
            assert_eq!(whole, split, "{stream:?}");
            if whole.is_some() {
                assert_eq!(take(stream, 1).1, taken, "{stream:?}");
                assert!(stream.starts_with(SIGNATURE) || stream[..taken].ends_with(b"\r\n"), "{stream:?}");
            }
        }
    });
}
