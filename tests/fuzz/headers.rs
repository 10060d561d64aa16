//! What an upstream reads out of an identity header is the claim that was signed, and a reserved name has no
//! spelling that gets through.

use http::HeaderName;
use serde_json::{Map, Value, json};
use tollgate::core::identity_headers::{IdentityHeaders, ReservedHeaders, WhichList};
use tollgate::core::ids::IssuerName;
use tollgate::core::percent;
use tollgate::core::token::facts::TokenFacts;
use tollgate::core::token::scope_values::ScopeValues;

use crate::choices::Choices;

fn header_of(claim: Value) -> Option<String> {
    let claims: Map<String, Value> = [("c".to_owned(), claim)].into_iter().collect();
    let (issuer, scope) = (IssuerName::new("demo"), ScopeValues::default());
    let facts = TokenFacts {
        issuer: &issuer,
        client: None,
        scope: &scope,
        acr: None,
        signed_in_at: None,
        claims: (&claims).into(),
        is_bound: false,
    };
    let lists = [vec![(HeaderName::from_static("x-c"), "c".to_owned())]];
    let made = IdentityHeaders::of(&lists, facts);
    made.by(WhichList::default()).first().map(|(_, value)| value.to_str().unwrap().to_owned())
}

/// As an upstream reads it: what HTTP drops at both ends is gone.
fn read(value: &str) -> Vec<String> {
    let trimmed = value.trim_matches([' ', '\t']);
    trimmed.split(',').map(|part| String::from_utf8(percent::decode(part.as_bytes())).unwrap()).collect()
}

#[test]
fn what_an_upstream_reads_is_what_was_signed() {
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let mut texts = vec![String::from_utf8_lossy(bytes).into_owned()];
        for _ in 0..choices.byte() % 4 {
            let pieces =
                ["", " ", ",", "%", "%2C", "\"", "\r\n", "\0", "\u{e9}", "a", "\t", "x: y", "\u{7f}"];
            texts.push((0..choices.byte() % 5).map(|_| choices.any(&pieces)).collect());
        }
        let single = header_of(json!(texts[0])).unwrap_or_default();
        assert_eq!(read(&single), [texts[0].clone()]);
        let list = header_of(json!(texts)).unwrap();
        assert_eq!(read(&list), texts, "{list}");
        let object: Map<String, Value> = texts.iter().map(|text| (text.clone(), json!(1))).collect();
        let names: Vec<String> = object.keys().cloned().collect();
        assert_eq!(read(&header_of(Value::Object(object)).unwrap()), names, "{names:?}");
        assert!(list.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'), "{list}");
    });
}

#[test]
fn a_reserved_name_has_no_spelling_that_passes_and_others_pass() {
    let identity = ["x-auth-subject", "x-auth-scope", "x-team.id"];
    let reserved = ReservedHeaders::new(identity.into_iter());
    let names = [
        "x-auth-subject",
        "x-team-id",
        "authorization",
        "x-forwarded-for",
        "x-original-anything",
        "x-request-id",
        "client-cert",
        "proxy",
    ];
    let other = ["!", "#", "$", "%", "&", "'", "*", "+", ".", "^", "_", "`", "|", "~", "-"];
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let name = choices.any(&names);
        let spelled: String = name
            .chars()
            .map(|letter| match (letter, choices.byte()) {
                ('-', _) => choices.any(&other).to_owned(),
                (letter, 128..) => letter.to_ascii_uppercase().to_string(),
                (letter, _) => letter.to_string(),
            })
            .collect();
        assert!(reserved.is_reserved(&spelled), "{spelled}");
        assert!(
            HeaderName::from_bytes(spelled.as_bytes()).is_ok_and(|name| reserved.is_reserved(name.as_str()))
        );
        // One letter more, in front, is another name.
        assert!(!reserved.is_reserved(&format!("y{spelled}")), "y{spelled}");
        let _ = reserved.is_reserved(&String::from_utf8_lossy(choices.rest()));
    });
}
