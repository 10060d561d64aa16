//! A sealed text opens as what was sealed, where it belongs, unaltered, and in no other case. A `Cookie`
//! field is read as one plain reader reads it.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, header};
use tollgate::core::secret::Secret;
use tollgate::core::session::cookie::{self, ForUpstream};
use tollgate::core::session::sealed::{Binding, KeyRing, Purpose};

use crate::choices::Choices;

static RING: LazyLock<KeyRing> =
    LazyLock::new(|| KeyRing::new(vec![Secret::new(vec![1; 32]), Secret::new(vec![2; 32])]).unwrap());
const NAMES: [&str; 4] = ["__Host-session", "__Host-sessio", "n__Host-session", ""];

fn binding(choices: &mut Choices<'_>) -> Binding<'static> {
    Binding { purpose: choices.of(&Purpose::ALL), cookie: choices.of(&NAMES), client: choices.of(&NAMES) }
}

#[test]
fn a_cookie_opens_as_it_was_sealed_and_where_it_belongs_and_in_no_other_case() {
    bolero::check!().with_iterations(5_000).with_max_len(256).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (belongs, asked) = (binding(&mut choices), binding(&mut choices));
        let nonce = std::array::from_fn(|_| choices.byte());
        let mut altered = Vec::new();
        let times = choices.byte() % 3;
        let plain = choices.rest();
        let sealed = RING.seal(belongs, plain, nonce).unwrap();
        altered.extend_from_slice(sealed.as_bytes());
        for _ in 0..times {
            altered = choices.alter(&altered, &["=", "==", "A", "-", "_", "+", "/", " ", "\n", "\0"]);
        }
        let Ok(altered) = String::from_utf8(altered) else { return };
        let opened = RING.open(asked, &altered);
        if altered == sealed && asked == belongs {
            assert_eq!(opened.unwrap().expose().as_slice(), plain);
        } else {
            assert!(opened.is_none(), "{altered} of {belongs:?} opened for {asked:?}");
        }
        assert!(RING.open(asked, &String::from_utf8_lossy(bytes)).is_none());
    });
}

#[test]
fn a_cookie_field_has_the_reading_of_a_plain_reader() {
    const OURS: &str = "__Host-a";
    let pieces = [
        "__Host-a",
        "=",
        ";",
        " ",
        "; ",
        "\t",
        "x",
        "__host-a",
        "\"",
        ",",
        "__Host-a=1",
        "a=b",
        "\u{e9}",
        "$",
    ];
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let mut headers = HeaderMap::new();
        let mut values = Vec::new();
        for _ in 0..choices.byte() % 3 {
            let field: String = (0..choices.byte() % 12).map(|_| choices.any(&pieces)).collect();
            headers.append(header::COOKIE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
            let trimmed = |text: &str| text.trim_matches([' ', '\t']).to_owned();
            for pair in field.split(';') {
                if let Some((name, value)) = pair.split_once('=')
                    && trimmed(name) == OURS
                {
                    values.push(trimmed(value));
                }
            }
        }
        let found = cookie::read(&headers, OURS);
        match &values[..] {
            [] => assert_eq!(found, Ok(None)),
            [only] => assert_eq!(found, Ok(Some(only.as_bytes()))),
            _ => assert!(found.is_err(), "{headers:?}"),
        }
        match cookie::without(&headers, |name| name == OURS.as_bytes()) {
            ForUpstream::Unchanged => assert!(values.is_empty(), "{headers:?}"),
            ForUpstream::Nothing => {}
            ForUpstream::Rest(rest) => {
                let mut left = HeaderMap::new();
                left.insert(header::COOKIE, rest);
                assert_eq!(cookie::read(&left, OURS), Ok(None), "{headers:?}");
            }
        }
    });
}
