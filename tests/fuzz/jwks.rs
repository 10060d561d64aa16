//! Sets of keys that are fine and keys that something spoils: what is fine is loaded, whatever stands beside
//! it, and verifies what it may and nothing else.

use tollgate::core::token::Algorithm::{
    self, EdDsa, Es256, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
};
use tollgate::core::token::jwks::{KeySet, MAX_KEYS, Miss};

use crate::choices::Choices;

/// A key of the standards (RFC 7515 appendix A.3, RFC 7520 section 3.3, RFC 8037 appendix A.2), without
/// `kid`, and what it verifies.
const KEYS: [(&str, &[Algorithm]); 3] = [
    (
        r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#,
        &[Es256],
    ),
    (
        r#""kty":"RSA","e":"AQAB","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw""#,
        &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
    ),
    (r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#, &[EdDsa]),
];

/// What may stand beside them.
const HARMLESS: [&str; 8] = [
    r#""use":"sig""#,
    r#""key_ops":["verify"]"#,
    r#""key_ops":["sign","verify"]"#,
    r#""x5c":7"#,
    r#""x5u":"https://evil.example/""#,
    r#""k":"AAAA""#,
    r#""ext":true"#,
    r#""":{}"#,
];

/// What makes no key of them.
const SPOILING: [&str; 19] = [
    r#""use":"enc""#,
    r#""use":null"#,
    r#""key_ops":[]"#,
    r#""key_ops":["sign"]"#,
    r#""key_ops":["verify","verify"]"#,
    r#""key_ops":"verify""#,
    r#""d":"AAAA""#,
    r#""p":0"#,
    r#""oth":[]"#,
    r#""alg":"HS256""#,
    r#""alg":"none""#,
    r#""alg":"ES256K""#,
    r#""alg":1"#,
    r#""kty":"oct""#,
    r#""kty":"RSA""#,
    r#""kid":"again""#,
    r#""a":{"b":1,"b":2}"#,
    r#""a":1e999"#,
    r#""a":"\udead""#,
];

/// No keys at all.
const NONE: [&str; 8] = [
    "null",
    "[]",
    "7",
    "{}",
    r#"{"kty":"EC"}"#,
    r#"{"kty":"oct","kid":"s","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
    r#"{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"}"#,
    r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
];

/// A key as text, and what it verifies; nothing when it is none. A spoiled key may say its `kty` twice.
fn key(choices: &mut Choices<'_>, kid: usize) -> (String, Vec<Algorithm>) {
    let (text, family) = choices.any(&KEYS);
    let mut text = format!(r#"{{"kid":"{kid}",{text}"#);
    let mut verifies = family.to_vec();
    if choices.byte() >= 160 {
        let pinned = choices.any(family);
        text.push_str(&format!(r#","alg":"{}""#, pinned.name()));
        verifies = vec![pinned];
    }
    if choices.byte() >= 160 {
        text.push_str(&format!(",{}", choices.any(&HARMLESS)));
    }
    if choices.byte() >= 180 {
        text.push_str(&format!(",{}", choices.any(&SPOILING)));
        verifies.clear();
    }
    (format!("{text}}}"), verifies)
}

#[test]
fn what_is_fine_is_loaded_whatever_stands_beside_it() {
    bolero::check!().with_iterations(3_000).with_max_len(96).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (mut texts, mut expected) = (Vec::new(), Vec::new());
        for kid in 0..choices.below(6) {
            if choices.byte() >= 200 {
                texts.push(choices.any(&NONE).to_owned());
            }
            let (text, verifies) = key(&mut choices, kid);
            texts.push(text);
            expected.push(verifies);
        }
        let document = format!(r#"{{"keys":[{}]}}"#, texts.join(","));
        let (set, skipped) = KeySet::parse(document.as_bytes()).unwrap();
        assert_eq!(set.len(), expected.iter().filter(|verifies| !verifies.is_empty()).count(), "{document}");
        assert_eq!(set.len() + skipped.len(), texts.len(), "{document}");
        for (kid, verifies) in expected.iter().enumerate() {
            let kid = kid.to_string();
            for algorithm in Algorithm::ALL {
                let found = set.candidates(Some(&kid), algorithm);
                match (verifies.is_empty(), verifies.contains(&algorithm)) {
                    (true, _) => assert_eq!(found.unwrap_err(), Miss::Unknown, "{document}"),
                    (false, true) => assert_eq!(found.unwrap().count(), 1, "{document}"),
                    (false, false) => assert_eq!(found.unwrap_err(), Miss::WrongAlgorithm, "{document}"),
                }
            }
        }
    });
}

#[test]
fn whatever_is_read_has_no_secret_and_no_more_keys_than_it_may() {
    let spare =
        ["{", "}", "[", "]", ",", ":", "\"", "null", r#""keys":"#, r#""kty":"oct""#, r#""alg":"HS256""#];
    bolero::check!().with_iterations(2_000).with_max_len(512).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let keys: Vec<String> = (0..3).map(|kid| key(&mut choices, kid).0).collect();
        let mut altered = format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes();
        for _ in 0..1 + choices.byte() % 4 {
            altered = choices.alter(&altered, &spare);
        }
        for document in [&altered[..], bytes] {
            let Ok((set, skipped)) = KeySet::parse(document) else { continue };
            assert!(set.len() <= MAX_KEYS && skipped.iter().all(|skip| !skip.why.is_empty()));
            let kids: Vec<String> = set.kids().map(ToOwned::to_owned).collect();
            for kid in kids.iter().map(|kid| Some(kid.as_str())).chain([None]) {
                for algorithm in [Hs256, Hs384, Hs512] {
                    assert!(set.candidates(kid, algorithm).is_err(), "{}", String::from_utf8_lossy(document));
                }
            }
        }
    });
}
