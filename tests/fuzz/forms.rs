//! A form or JSON body has the one reading that a plain reader finds in it, or it is refused.

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use tollgate::core::percent;
use tollgate::core::session::oauth::request::Parameters;

use crate::choices::Choices;

/// The WHATWG reading of a form, spelled out.
fn plainly(form: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| {
        let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        String::from_utf8_lossy(&percent::decode(&spaced)).into_owned()
    };
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (text(&pair[..at]), text(&pair[at + 1..])),
            None => (text(pair), String::new()),
        })
        .collect()
}

/// Refused, or read as these pairs.
fn judge(read: Result<Parameters, impl std::fmt::Debug>, pairs: &[(String, String)], body: &[u8]) {
    let names: std::collections::HashSet<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    let has_one_reading = names.len() == pairs.len()
        && pairs.len() <= 32
        && !names.contains("access_token")
        && !pairs.iter().any(|(_, value)| value.contains('\u{fffd}'));
    let body = String::from_utf8_lossy(body);
    assert_eq!(read.is_ok(), has_one_reading, "{body}: {pairs:?}");
    let Ok(read) = read else { return };
    for (name, value) in pairs {
        assert_eq!(
            read.get(name),
            Some(value.as_str()).filter(|value| !value.is_empty()),
            "{name} in {body}"
        );
    }
}

#[test]
fn any_form_has_the_reading_of_a_plain_reader_or_is_refused() {
    let pieces = [
        "grant_type",
        "=",
        "&",
        "refresh_token",
        "authorization_code",
        "client_id",
        "access_token",
        "+",
        "%20",
        "%",
        "%2",
        "%zz",
        "%26",
        "%3D",
        "%C3%A9",
        "%c3",
        "%00",
        "\u{fffd}",
        "a",
        "b",
        ";",
        "[]",
        "%61ccess_token",
        "&&",
        "a=1&a=2",
    ];
    bolero::check!().with_iterations(20_000).with_max_len(96).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let made: String = (0..bytes.len()).map(|_| choices.any(&pieces)).collect();
        for form in [made.as_bytes(), bytes] {
            judge(Parameters::from_form(form), &plainly(form), form);
        }
    });
}

#[test]
fn any_json_body_has_each_member_once_and_as_text_or_is_refused() {
    let members = [
        r#""grant_type":"refresh_token""#,
        r#""grant_type":7"#,
        r#""a":"1""#,
        r#""\u0061":"2""#,
        r#""access_token":"x""#,
        r#""b":"""#,
        r#""c":null"#,
        r#""d":["x"]"#,
        r#""e":"\ud800""#,
        r#""f":"\u00e9""#,
        r#""g":"x"y"#,
        r#""h":"\ufffd""#,
    ];
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    bolero::check!().with_iterations(10_000).with_max_len(16).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let picked: Vec<&str> = (0..choices.byte() % 4).map(|_| choices.any(&members)).collect();
        let body = format!("{{{}}}", picked.join(","));
        let read = Parameters::read(&headers, body.as_bytes());
        // `serde_json` keeps the last of two members: as many as were written means each once.
        let plain = serde_json::from_str::<Map<String, Value>>(&body)
            .ok()
            .filter(|plain| plain.len() == picked.len());
        let pairs: Option<Vec<(String, String)>> = plain.and_then(|plain| {
            plain.into_iter().map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
        });
        match pairs {
            Some(pairs) => judge(read, &pairs, body.as_bytes()),
            None => assert!(read.is_err(), "{body}"),
        }
        let _ = Parameters::read(&headers, bytes);
    });
}
