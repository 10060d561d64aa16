//! Proofs: the standards' own, good ones of every algorithm, and whatever must not pass for one.

use serde_json::json;

use super::*;
use crate::core::path::CanonicalPath;
use crate::core::request::Origin;
use crate::core::token::testing::{NOW, TestKey, keys, sign_hs256, unsigned, with};

/// RFC 9449 section 4.1, figure 1: of a request for a token.
const OF_RFC_9449: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// The thumbprint of the same key (section 6.1, figure 9).
const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const TOKEN: &str = "a.b.c";

fn uri(text: &str) -> HttpUri {
    HttpUri::parse(text).unwrap()
}

fn token() -> &'static [u8] {
    TOKEN.as_bytes()
}

/// Claims of a good proof, for `GET https://api.example/orders` with [`TOKEN`].
fn claims() -> Value {
    json!({
        "jti": "p-1", "htm": "GET", "htu": "https://api.example/orders", "iat": NOW.as_secs(),
        "ath": "hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg",
    })
}

fn header(key: &TestKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm.name(), "jwk": key.jwk() })
}

fn thumbprint(key: &TestKey) -> Thumbprint {
    BroughtKey::read(key.jwk().as_object().unwrap(), key.algorithm).unwrap().thumbprint()
}

fn verify(proof: &str, key: Thumbprint) -> Result<ValidProof, Wrong> {
    let request = Request {
        method: &Method::GET,
        uri: &HttpUri::new(
            Origin::parse("https://api.example").unwrap(),
            &CanonicalPath::parse(b"/orders").unwrap(),
        ),
        token: Some((token(), key)),
        clock_skew: Duration::from_secs(30),
        has_nonces: false,
    };
    Proof::parse(proof)?.check(&request, NOW)?.verify()
}

/// A proof of P-256 whose claims are changed.
fn judged(changes: Value) -> Result<ValidProof, Wrong> {
    let key = &keys().p256;
    verify(&key.sign_as(&header(key), &with(claims(), changes)), thumbprint(key))
}

#[test]
fn the_proof_of_rfc_9449_holds_for_its_request() {
    let made = Timestamp::from_secs(1_562_262_616);
    let of = |uri: &HttpUri, method, now| {
        let request = Request { method, uri, token: None, clock_skew: Duration::ZERO, has_nonces: false };
        Proof::parse(OF_RFC_9449).unwrap().check(&request, now)?.verify()
    };
    let place = uri("https://server.example.com/token");
    let proven = of(&place, &Method::POST, made).unwrap();
    assert_eq!(proven.key.to_string(), JKT);
    assert_eq!(proven.made_at, made);
    assert_eq!(
        of(&place, &Method::GET, made),
        Err(Wrong::Invalid("The proof's htm must be the method of this request."))
    );
    assert_eq!(of(&uri("https://server.example.com/x"), &Method::POST, made), Err(Wrong::WrongUri));
    assert_eq!(of(&place, &Method::POST, made.plus(LIFE)), Err(Wrong::OutOfTime));
    assert_eq!(of(&place, &Method::POST, made.minus(Duration::from_secs(1))), Err(Wrong::OutOfTime));
}

/// RFC 9449 section 7.1, figure 12: the hash of the token of section 5, figure 6.
#[test]
fn the_hash_of_rfc_9449_is_that_of_its_token() {
    let token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU".as_slice();
    let hash = URL_SAFE_NO_PAD.decode("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo").unwrap();
    assert!(is_hash_of(token, &hash));
}

/// RFC 7638 section 3.1.
#[test]
fn the_thumbprint_of_rfc_7638_is_that_of_its_key() {
    let jwk = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    });
    let key = BroughtKey::read(jwk.as_object().unwrap(), Algorithm::Rs256).unwrap();
    assert_eq!(key.thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn a_proof_of_each_kind_of_key_holds_and_says_whose_it_is() {
    for key in [&keys().rsa, &keys().p256, &keys().p384, &keys().ed] {
        let proof = key.sign_as(&header(key), &claims());
        let proven = verify(&proof, thumbprint(key)).unwrap();
        assert_eq!((proven.key, proven.made_at), (thumbprint(key), NOW));
        let other = if key.kid() == "rsa" { &keys().p256 } else { &keys().rsa };
        assert_eq!(verify(&proof, thumbprint(other)), Err(Wrong::OfAnotherKey));
    }
    let ed = &keys().ed;
    let named = with(header(ed), json!({ "alg": "Ed25519" }));
    let proof = ed.sign_text(Algorithm::EdDsa, &named.to_string(), &claims().to_string());
    assert!(verify(&proof, thumbprint(ed)).is_ok());
}

#[test]
fn what_is_announced_is_taken_and_none_of_it_is_of_a_secret() {
    for name in ALGORITHMS {
        assert!(Algorithm::parse(name).unwrap().least_secret().is_none(), "{name}");
    }
    for algorithm in Algorithm::ALL {
        assert_eq!(ALGORITHMS.contains(&algorithm.name()), algorithm.least_secret().is_none());
    }
}

#[test]
fn a_proof_is_of_one_request_with_one_token() {
    assert!(judged(json!({})).is_ok());
    for changes in [
        json!({ "htm": "get" }),
        json!({ "htm": "POST" }),
        json!({ "htm": null }),
        json!({ "htm": ["GET"] }),
        json!({ "htu": "https://api.example/orders/1" }),
        json!({ "htu": "http://api.example/orders" }),
        json!({ "htu": "https://evil.example/orders" }),
        json!({ "htu": "/orders" }),
        json!({ "htu": null }),
        json!({ "htu": ["https://api.example/orders"] }),
        json!({ "ath": null }),
        json!({ "ath": "" }),
        json!({ "ath": "hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybh" }),
        json!({ "ath": "hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg=" }),
        json!({ "ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
    ] {
        let wrong = judged(changes.clone()).unwrap_err();
        assert!(matches!(wrong, Wrong::Invalid(_) | Wrong::WrongUri), "{changes}: {wrong:?}");
    }
    for changes in [
        json!({ "htu": "HTTPS://API.example:443/%6Frders?x=1#y" }),
        json!({ "nonce": "of nobody", "more": {} }),
    ] {
        assert!(judged(changes.clone()).is_ok(), "{changes}");
    }
}

#[test]
fn a_proof_is_of_this_minute() {
    let at = |seconds: i64| judged(json!({ "iat": NOW.as_secs() + seconds }));
    for (seconds, holds) in [(-90, false), (-89, true), (0, true), (30, true), (31, false)] {
        assert_eq!(at(seconds).map(drop), if holds { Ok(()) } else { Err(Wrong::OutOfTime) }, "{seconds}");
    }
    assert_eq!(at(-50).unwrap().made_at, NOW.minus(Duration::from_secs(50)));
    for bad in [json!(null), json!("1800000000"), json!(-1), json!(1e300), json!([0])] {
        assert!(matches!(judged(json!({ "iat": bad })), Err(Wrong::Invalid(_))), "{bad}");
    }
    assert_eq!(judged(json!({ "exp": NOW.as_secs() - 30 })), Err(Wrong::OutOfTime));
    assert!(judged(json!({ "exp": NOW.as_secs() + 1 })).is_ok());
    assert_eq!(judged(json!({ "nbf": NOW.as_secs() + 31 })), Err(Wrong::OutOfTime), "RFC 7519 section 4.1.5");
    for fine in [NOW.as_secs() + 30, NOW.as_secs(), 0] {
        assert!(judged(json!({ "nbf": fine })).is_ok(), "{fine}");
    }
    for date in ["exp", "nbf"] {
        assert!(matches!(judged(json!({ date: "x" })), Err(Wrong::Invalid(_))));
    }
}

#[test]
fn a_nonce_tells_the_time_where_somebody_looks_at_it() {
    let key = &keys().p256;
    let proof = |changes: Value| key.sign_as(&header(key), &with(claims(), changes));
    let of = |has_nonces, changes: Value| {
        let request = Request { has_nonces, ..of_no_token() };
        Proof::parse(&proof(changes)).unwrap().check(&request, NOW)?.verify().map(|proven| proven.made_at)
    };
    let late = json!({ "iat": NOW.as_secs() - 3600, "nonce": "n" });
    assert_eq!(of(true, late.clone()), Ok(NOW), "when it came");
    assert_eq!(of(false, late), Err(Wrong::OutOfTime));
    for none in [json!(null), json!(["n"]), json!(7)] {
        let late = json!({ "iat": NOW.as_secs() - 3600, "nonce": none });
        assert_eq!(of(true, late), Err(Wrong::OutOfTime));
    }
}

#[test]
fn a_header_that_is_not_of_a_proof_is_refused() {
    let key = &keys().p256;
    for changes in [
        json!({ "typ": null }),
        json!({ "typ": "JWT" }),
        json!({ "typ": "at+jwt" }),
        json!({ "typ": "dpop" }),
        json!({ "typ": ["dpop+jwt"] }),
        json!({ "alg": null }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "es256" }),
        json!({ "alg": "ES384" }),
        json!({ "alg": "RS256" }),
        json!({ "crit": ["x"], "x": 1 }),
        json!({ "b64": false }),
        json!({ "jwk": null }),
        json!({ "jwk": key.jwk().to_string() }),
        json!({ "jwk": null, "jku": "https://evil.example/jwks" }),
        json!({ "jwk": null, "kid": "p256" }),
        json!({ "jwk": keys().p384.jwk() }),
        json!({ "jwk": with(key.jwk(), json!({ "d": "AAAA" })) }),
        json!({ "jwk": with(key.jwk(), json!({ "use": "enc" })) }),
        json!({ "jwk": with(key.jwk(), json!({ "key_ops": ["encrypt"] })) }),
        json!({ "jwk": with(key.jwk(), json!({ "key_ops": ["sign"] })) }),
        json!({ "jwk": with(key.jwk(), json!({ "alg": "ES384" })) }),
        json!({ "jwk": with(key.jwk(), json!({ "crv": "secp256k1" })) }),
        json!({ "jwk": with(key.jwk(), json!({ "x": "AAAA" })) }),
        json!({ "jwk": { "kty": "oct", "k": "AAAA" } }),
        json!({ "jwk": { "kty": "RSA", "n": "0vx7agoebGcQSuuPiLJX", "e": "AQAB" } }),
    ] {
        let header = with(header(key), changes.clone());
        let proof = key.sign_text(Algorithm::Es256, &header.to_string(), &claims().to_string());
        assert!(matches!(Proof::parse(&proof), Err(Wrong::Invalid(_))), "{changes}");
    }
    let exported =
        |key_ops| json!({ "jwk": with(key.jwk(), json!({ "key_ops": key_ops, "ext": true, "kid": null })) });
    for changes in [
        exported(json!(["verify"])),
        exported(json!([])),
        json!({ "typ": "application/DPoP+JWT" }),
        json!({ "kid": "x" }),
    ] {
        let proof = key.sign_as(&with(header(key), changes.clone()), &claims());
        assert!(verify(&proof, thumbprint(key)).is_ok(), "{changes}");
    }
}

#[test]
fn only_whoever_has_the_key_makes_its_proofs() {
    let (key, other) = (&keys().p256, thumbprint(&keys().p256));
    let refused = Err(Wrong::Forged);
    let stranger = crate::core::token::testing::new_p256("p256");
    assert_eq!(verify(&stranger.sign_as(&header(key), &claims()), other), refused);
    let good = key.sign_as(&header(key), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [String::new(), "A".repeat(86), format!("{signature}AAAA"), "!".repeat(86), "A".repeat(2000)] {
        assert_eq!(verify(&format!("{signed}.{bad}"), other), refused, "{bad}");
    }
    let moved = json!({ "x": URL_SAFE_NO_PAD.encode([1; 32]) });
    let off_its_curve = json!({ "jwk": with(key.jwk(), moved) });
    let proof =
        key.sign_text(Algorithm::Es256, &with(header(key), off_its_curve).to_string(), &claims().to_string());
    assert_eq!(Proof::parse(&proof).unwrap().check(&of_no_token(), NOW).unwrap().verify(), refused);
    let by_secret = sign_hs256(b"0123456789abcdef0123456789abcdef", &header(key), &claims());
    assert_eq!(verify(&by_secret, other), refused);
}

/// As the token endpoint has it.
fn of_no_token() -> Request<'static> {
    static URI: std::sync::LazyLock<HttpUri> = std::sync::LazyLock::new(|| uri("https://api.example/orders"));
    Request {
        method: &Method::GET,
        uri: &URI,
        token: None,
        clock_skew: Duration::from_secs(30),
        has_nonces: false,
    }
}

#[test]
fn what_is_no_jwt_is_no_proof() {
    let key = &keys().p256;
    let header = header(key).to_string();
    let twice = header.replacen('{', r#"{"typ":"dpop+jwt","#, 1);
    for bad in [
        String::new(),
        "..".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d.e".to_owned(),
        format!("{}.x", unsigned(&header, "[]")),
        format!("{}.x", unsigned(&header, r#"{"jti":"a","jti":"b"}"#)),
        format!("{}.x", unsigned(&twice, &claims().to_string())),
        format!("{}.x", unsigned(&header, &format!(r#"{{"x":"{}"}}"#, "a".repeat(8192)))),
    ] {
        assert!(matches!(Proof::parse(&bad), Err(Wrong::Invalid(_))), "{bad}");
    }
}

#[test]
fn one_proof_comes_in_one_field() {
    let with = |fields: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(DPOP, http::HeaderValue::from_bytes(field).unwrap());
        }
        headers
    };
    assert_eq!(carried(&with(&[])), Ok(None));
    assert_eq!(carried(&with(&[b"a.b.c"])), Ok(Some("a.b.c")));
    assert!(carried(&with(&[b"a.b.c", b"a.b.c"])).is_err());
    assert!(carried(&with(&[b"a.b.c\xff"])).is_err());
    assert!(Proof::parse("a.b.c, a.b.c").is_err(), "a list of two");
}

#[test]
fn two_proofs_are_told_apart_by_key_and_jti() {
    let id = |key: &TestKey, jti: &str| {
        let proof =
            key.sign_as(&header(key), &with(claims(), json!({ "jti": jti, "iat": NOW.as_secs() - 1 })));
        verify(&proof, thumbprint(key)).unwrap().id
    };
    let [p256, ed] = [&keys().p256, &keys().ed];
    assert_eq!(id(p256, "a"), id(p256, "a"), "however it is signed");
    assert_ne!(id(p256, "a"), id(p256, "b"));
    assert_ne!(id(p256, "a"), id(ed, "a"), "nobody uses up the names of others");
}
