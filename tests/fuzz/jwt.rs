//! A token is made of members that are fine and of members that spoil it, and signed well; it is accepted
//! when none spoils it, and only then. What is altered after that is accepted never.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tollgate::core::denial::Denial;
use tollgate::core::ids::IssuerName;
use tollgate::core::time::Timestamp;
use tollgate::core::token::binding::Thumbprint;
use tollgate::core::token::jwks::KeySet;
use tollgate::core::token::jwt::Unverified;
use tollgate::core::token::verified::VerifiedToken;
use tollgate::core::token::{Algorithm, ClaimNames, TokenRules};

use crate::choices::Choices;

/// What a member makes of the token that has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    Fine,
    Spoiling,
    /// A `typ` that does not say what kind of token it is.
    Unspecific,
    /// What only tokens of other kinds have: it spoils one that does not say its kind.
    OfAnotherKind,
    /// That too, unless something else shows an access token.
    Repeated,
}

use Is::{Fine, OfAnotherKind, Repeated, Spoiling, Unspecific};

/// One member of header or payload, and what it makes of the token. Nothing: it is left out.
pub(crate) type Member = (&'static str, Is);

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) const HEADER: [&[Member]; 3] = [
    &[
        (r#""alg":"EdDSA""#, Fine),
        (r#""alg":"Ed25519""#, Fine),
        (r#""\u0061lg":"EdDSA""#, Fine),
        (r#""alg":"none""#, Spoiling),
        (r#""alg":"HS256""#, Spoiling),
        (r#""alg":"ES256""#, Spoiling),
        (r#""alg":"Ed448""#, Spoiling),
        (r#""alg":"eddsa""#, Spoiling),
        (r#""alg":["EdDSA"]"#, Spoiling),
        (r#""alg":null"#, Spoiling),
        (r#""Alg":"EdDSA""#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""kid":"k""#, Fine),
        ("", Fine),
        (r#""kid":"\u006b""#, Fine),
        (r#""kid":"ec""#, Spoiling),
        (r#""kid":"K""#, Spoiling),
        (r#""kid":"""#, Spoiling),
        (r#""kid":null"#, Spoiling),
        (r#""kid":1"#, Spoiling),
    ],
    &[
        (r#""typ":"at+jwt""#, Fine),
        (r#""typ":"application/AT+JWT""#, Fine),
        (r#""typ":"at\u002bjwt""#, Fine),
        (r#""typ":"JWT""#, Unspecific),
        (r#""typ":"application/jwt""#, Unspecific),
        ("", Unspecific),
        (r#""typ":"logout+jwt""#, Spoiling),
        (r#""typ":"tollgate+jwt""#, Spoiling),
        (r#""typ":"application/application/at+jwt""#, Spoiling),
        (r#""typ":"""#, Spoiling),
        (r#""typ":null"#, Spoiling),
    ],
];

pub(crate) const MORE_OF_HEADER: &[Member] = &[
    (r#""jku":"https://evil.example/jwks""#, Fine),
    (r#""x5u":"file:///dev/null""#, Fine),
    (r#""x5c":["MIIB"]"#, Fine),
    (r#""jwk":{"kty":"oct","k":"AAAA"}"#, Fine),
    (r#""cty":"json""#, Fine),
    (r#""":0"#, Fine),
    (r#""cty":"application/JWT""#, Spoiling),
    (r#""crit":[]"#, Spoiling),
    (r#""crit":["exp"]"#, Spoiling),
    (r#""b64":true"#, Spoiling),
    (r#""zip":"DEF""#, Spoiling),
    (r#""enc":"A256GCM""#, Spoiling),
    (r#""x":{"a":1,"\u0061":2}"#, Spoiling),
];

const PAYLOAD: [&[Member]; 8] = [
    &[
        (r#""iss":"https://as.example""#, Fine),
        (r#""iss":"https:\/\/as.example""#, Fine),
        (r#""iss":"https://as.example/""#, Spoiling),
        (r#""iss":"https://as.example\u0000""#, Spoiling),
        (r#""iss":["https://as.example"]"#, Spoiling),
        (r#""ISS":"https://as.example""#, Spoiling),
        (r#""iss":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""aud":"https://api.example.com""#, Fine),
        (r#""aud":["x","https://api.example.com"]"#, Fine),
        (r#""aud":["https://api.example.com","web-app"]"#, Fine),
        (r#""aud":["https://api.example.com",5]"#, Spoiling),
        (r#""aud":"https://api.example.com/""#, Spoiling),
        (r#""aud":{"https://api.example.com":1}"#, Spoiling),
        (r#""aud":"web-app""#, Spoiling),
        (r#""aud":[]"#, Spoiling),
        (r#""aud":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""exp":1800000540"#, Fine),
        (r#""exp":1800000540.25"#, Fine),
        (r#""exp":1.80000054e9"#, Fine),
        (r#""exp":1799999971"#, Fine),
        (r#""exp":1799999970.001"#, Fine),
        (r#""exp":1799999970"#, Spoiling),
        (r#""exp":9000000000"#, Spoiling),
        (r#""exp":9007199254740993"#, Spoiling),
        (r#""exp":1e308"#, Spoiling),
        (r#""exp":1e309"#, Spoiling),
        (r#""exp":-1800000540"#, Spoiling),
        (r#""exp":"1800000540""#, Spoiling),
        (r#""exp":01800000540"#, Spoiling),
        (r#""exp":[1800000540]"#, Spoiling),
        (r#""exp":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""iat":1799999940"#, Fine),
        (r#""iat":1800000030"#, Fine),
        (r#""iat":1800000030.001"#, Spoiling),
        (r#""iat":0"#, Spoiling),
        (r#""iat":true"#, Spoiling),
        (r#""iat":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        ("", Fine),
        (r#""nbf":0"#, Fine),
        (r#""nbf":-0.0"#, Fine),
        (r#""nbf":1800000030"#, Fine),
        (r#""nbf":1800000031"#, Spoiling),
        (r#""nbf":-1"#, Spoiling),
        (r#""nbf":"0""#, Spoiling),
        (r#""nbf":null"#, Spoiling),
    ],
    &[
        (r#""sub":"alice""#, Fine),
        (r#""sub":"\ud83d\ude00""#, Fine),
        ("", Fine),
        (r#""sub":"\ud83d""#, Spoiling),
        (r#""sub":"""#, Spoiling),
        (r#""sub":7"#, Spoiling),
        (r#""sub":["alice"]"#, Spoiling),
        (r#""sub":null"#, Spoiling),
    ],
    &[
        (r#""client_id":"web-app""#, Fine),
        (r#""client_id":null"#, Fine),
        ("", Fine),
        (r#""client_id":"""#, Spoiling),
        (r#""client_id":{}"#, Spoiling),
    ],
    &[(r#""jti":"1""#, Fine), ("", Fine), (r#""jti":1"#, Spoiling), (r#""jti":"""#, Spoiling)],
];

const MORE_OF_PAYLOAD: &[Member] = &[
    (r#""scope":"api:read""#, Fine),
    (r#""auth_time":"whenever""#, Fine),
    (r#""x":{"a":1,"b":{"a":[{"a":1}]}}"#, Fine),
    (r#""nonce":"n""#, Repeated),
    (r#""nonce":null"#, Repeated),
    (r#""azp":"web-app""#, Fine),
    (r#""azp":"https://api.example.com""#, Fine),
    (r#""tokenName":"access_token""#, Fine),
    (r#""tokenName":"id_token""#, OfAnotherKind),
    (r#""at_hash":"h""#, OfAnotherKind),
    (r#""c_hash":null"#, OfAnotherKind),
    (r#""s_hash":1"#, OfAnotherKind),
    (r#""events":{}"#, OfAnotherKind),
    (r#""cnf":{"jkt":"x"}"#, Spoiling),
    (r#""cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#, Fine),
    (r#""cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","x5t#S256":"x"}"#, Spoiling),
    (r#""x":[{"a":1,"a":1}]"#, Spoiling),
    (r#""x":1e400"#, Spoiling),
    (r#""x":01"#, Spoiling),
    ("\"x\":\"\u{1}\"", Spoiling),
    (r#""x":'a'"#, Spoiling),
    (r#""x":1,"#, Spoiling),
];

pub(crate) struct Issuer {
    key: Ed25519KeyPair,
    pub(crate) keys: KeySet,
    pub(crate) rules: TokenRules,
}

pub(crate) static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let ed =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": URL_SAFE_NO_PAD.encode(key.public_key())});
    // The key of RFC 7515 appendix A.3.
    let ec = json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let (keys, skipped) = KeySet::parse(json!({ "keys": [ec, ed] }).to_string().as_bytes()).unwrap();
    assert!(skipped.is_empty());
    let rules = TokenRules {
        issuer: IssuerName::new("demo"),
        iss: "https://as.example".to_owned(),
        access_token_iss: Vec::new(),
        audiences: vec!["https://api.example.com".to_owned()],
        clients_without_audience: Vec::new(),
        algorithms: Algorithm::ALL.to_vec(),
        token_type: None,
        clock_skew: Duration::from_secs(30),
        iat_behind: Duration::ZERO,
        max_token_lifetime: Duration::from_secs(24 * 3600),
        claims: ClaimNames::default(),
        client_ids: vec!["web-app".to_owned()],
    };
    Issuer { key, keys, rules }
});

impl Issuer {
    /// The public half of its key.
    pub(crate) fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.public_key())
    }

    /// RFC 7638 section 3, by hand.
    pub(crate) fn thumbprint(&self) -> Thumbprint {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        Thumbprint::parse(&URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes()))).unwrap()
    }

    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.key.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn judge(&self, token: &str) -> Result<VerifiedToken, Denial> {
        Ok(Unverified::parse(token, 8192)?.verify(&self.keys, &self.rules, NOW)?)
    }
}

/// One member of each list and up to two more, in an order of its own; and what they make of the token.
pub(crate) fn object(
    choices: &mut Choices<'_>,
    lists: &[&'static [Member]],
    more: &'static [Member],
) -> (String, Vec<Is>) {
    let mut members: Vec<Member> = lists.iter().map(|list| choices.of(list)).collect();
    for _ in 0..usize::from(choices.byte() % 8).saturating_sub(5) {
        members.push(choices.any(more));
    }
    if choices.byte() >= 250 {
        members.push(members[choices.below(members.len())]);
    }
    let mut is: Vec<Is> = members.iter().map(|(_, is)| *is).collect();
    members.retain(|(text, _)| !text.is_empty());
    let turn = choices.below(members.len().max(1));
    members.rotate_left(turn);
    // Whoever says a name twice has two readings.
    let names: Vec<String> =
        members.iter().map(|(text, _)| text.split(':').next().unwrap().replace("\\u0061", "a")).collect();
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        is.push(Spoiling);
    }
    let space = choices.of(&["", " ", "\r\n\t"]);
    let all: Vec<String> = members.iter().map(|(text, _)| format!("{space}{text}{space}")).collect();
    (format!("{space}{{{}}}{space}", all.join(",")), is)
}

/// By its word, or because it names its client and is for somebody else, and for nobody who is a client.
fn shows_an_access_token(payload: &str) -> bool {
    let has = |member: &str| payload.contains(member);
    let names_its_client = has(r#""client_id":"web-app""#) || has(r#""azp":"web-app""#);
    let is_for_a_client = has(r#","web-app"]"#) || has(r#""azp":"https://api.example.com""#);
    has(r#""tokenName":"access_token""#) || names_its_client && !is_for_a_client
}

#[test]
fn a_well_signed_token_is_accepted_when_nothing_spoils_it_and_only_then() {
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, of_header) = object(&mut choices, &HEADER, MORE_OF_HEADER);
        let (payload, of_payload) = object(&mut choices, &PAYLOAD, MORE_OF_PAYLOAD);
        let has = |is: Is| of_header.contains(&is) || of_payload.contains(&is);
        let is_of_another_kind =
            has(Unspecific) && (has(OfAnotherKind) || has(Repeated) && !shows_an_access_token(&payload));
        let is_good = !has(Spoiling) && !is_of_another_kind;
        let judged = ISSUER.judge(&ISSUER.sign(&header, &payload));
        assert_eq!(judged.is_ok(), is_good, "{header} {payload} {judged:?}");
    });
}

#[test]
fn a_token_that_was_altered_is_accepted_never() {
    let header = r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#;
    let payload = |sub: &str| {
        format!(
            r#"{{"iss":"https://as.example","aud":"https://api.example.com","sub":"{sub}","iat":1799999940,"exp":1800000540}}"#
        )
    };
    let (alice, bob) = (ISSUER.sign(header, &payload("alice")), ISSUER.sign(header, &payload("bob")));
    assert!(ISSUER.judge(&alice).is_ok() && ISSUER.judge(&bob).is_ok());
    let spare =
        [".", "=", "==", "-", "_", "+", "/", "%3D", "\n", " ", "A", "..", ".e30.", "eyJhbGciOiJub25lIn0."];
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let mut text = alice.clone().into_bytes();
        if choices.byte() >= 200 {
            // The parts of two good ones.
            let parts: Vec<&str> = (0..3)
                .map(|at| if choices.byte() < 128 { &alice } else { &bob }.split('.').nth(at).unwrap())
                .collect();
            text = parts.join(".").into_bytes();
        }
        for _ in 0..choices.byte() % 3 {
            text = choices.alter(&text, &spare);
        }
        for text in [text, choices.rest().to_vec()] {
            let Ok(text) = String::from_utf8(text) else { continue };
            assert_eq!(ISSUER.judge(&text).is_ok(), text == alice || text == bob, "{text}");
        }
    });
}
