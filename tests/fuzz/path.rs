//! Whatever is asked for is refused or has one spelling; and no upstream finds a way up, an empty segment or
//! a control character in it, however often it decodes.

use tollgate::core::path::{CanonicalPath, EncodedSlash};
use tollgate::core::percent;

use crate::choices::Choices;

const PIECES: [&str; 38] = [
    "a",
    "/",
    ".",
    "..",
    "%2e",
    "%2E",
    "%252e",
    "%25%32%65",
    "%",
    "%2",
    "%2f",
    "%5c",
    "\\",
    ";",
    ";x=y",
    "%3b",
    "%253b",
    "admin",
    "%61",
    "%2561",
    "%252561",
    "%C3%A9",
    "%c3",
    "%25c3",
    "%25a9",
    "%25c0",
    "%25ff",
    "%00",
    "%7f",
    "%250a",
    "#",
    "?",
    "[",
    "|",
    "%5B",
    "~",
    "%7E",
    " ",
];

/// What an upstream may make of it: decoded so many times, `;parameters` kept or cut off.
fn readings(path: &str) -> impl Iterator<Item = Vec<Vec<u8>>> + '_ {
    [(1, false), (1, true), (2, false), (2, true), (3, false), (3, true)].into_iter().map(|(times, cut)| {
        let bytes = (0..times).fold(path.as_bytes().to_vec(), |bytes, _| percent::decode(&bytes));
        let segments = bytes.split(|byte| *byte == b'/').skip(1);
        segments
            .map(|segment| match segment.iter().position(|byte| cut && *byte == b';') {
                Some(at) => segment[..at].to_vec(),
                None => segment.to_vec(),
            })
            .collect()
    })
}

#[test]
fn a_path_is_refused_or_has_one_spelling_in_which_nobody_finds_another() {
    bolero::check!().with_iterations(20_000).with_max_len(48).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let mut made = String::from("/");
        for _ in 0..bytes.len().min(10) {
            made.push_str(choices.any(&PIECES));
        }
        for asked in [made.as_bytes(), bytes] {
            may_keep_its_slashes(asked);
            let Ok(path) = CanonicalPath::parse(asked) else { continue };
            let text = path.as_str();
            assert_eq!(CanonicalPath::parse(text.as_bytes()).as_ref(), Ok(&path), "{text} changes again");
            assert!(text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            assert!(!text.contains(['?', '#', '\\']), "{text}");
            let asked_for: Vec<Vec<u8>> = asked
                .split(|byte| *byte == b'/')
                .skip(1)
                .map(percent::decode)
                .filter(|s| !s.is_empty())
                .collect();
            let judged: Vec<Vec<u8>> = path.segments().map(|segment| segment.as_bytes().to_vec()).collect();
            assert_eq!(judged, asked_for, "{text} is another path");
            for mut read in readings(text) {
                if read.last().is_some_and(Vec::is_empty) {
                    read.pop(); // one trailing slash
                }
                assert_eq!(read.len(), judged.len(), "{text}");
                for segment in read {
                    assert!(std::str::from_utf8(&segment).is_ok(), "{text} reads {segment:?}");
                    assert!(!matches!(&segment[..], b"" | b"." | b".."), "{text}");
                    assert!(segment.iter().all(|b| !matches!(b, 0..=0x1f | 0x7f | b'/' | b'\\')), "{text}");
                }
            }
        }
    });
}

/// Where encoded slashes are kept it is the same, but that those who take them for slashes find more
/// segments.
fn may_keep_its_slashes(asked: &[u8]) {
    let strict = CanonicalPath::parse(asked);
    match CanonicalPath::parse_with(asked, EncodedSlash::Keep) {
        Err(_) => assert!(strict.is_err(), "{asked:?}"),
        Ok(path) if !path.has_encoded_slash() => assert_eq!(strict.as_ref(), Ok(&path)),
        Ok(path) => {
            assert!(strict.is_err(), "{asked:?}");
            let text = path.as_str();
            for segment in readings(text).flatten() {
                assert!(!matches!(&segment[..], b"." | b".."), "{text}");
                assert!(
                    segment.iter().all(|b| !matches!(b, 0..=0x1f | 0x7f | b'/' | b'\\' | b';')),
                    "{text}"
                );
            }
            let pieces = text.trim_end_matches('/').replace("%2F", "/");
            assert!(pieces.split('/').skip(1).all(|piece| !piece.is_empty()), "{text}");
            let judged: Vec<Vec<u8>> = path.segments().map(|segment| segment.as_bytes().to_vec()).collect();
            let asked_for = asked.split(|byte| *byte == b'/').skip(1).map(percent::decode);
            assert!(asked_for.filter(|s| !s.is_empty()).eq(judged), "{text} is another path");
        }
    }
}
