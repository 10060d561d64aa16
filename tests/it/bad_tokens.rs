//! The attacks that RFC 8725 lists, one of each kind, at the socket: 401 with `invalid_token`, and
//! nothing reaches the upstream. All their variants are in `src/core/token/attacks/`.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::issuer::Issuer;
use crate::support::upstream::Upstream;

/// The token with one member of its header changed, signed again by its issuer.
fn with_header(issuer: &Issuer, member: &str, value: Value) -> String {
    let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    header[member] = value;
    issuer.sign(&header, &payload_of(&issuer.token("alice", "api:read")))
}

fn payload_of(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// The token's payload behind another header, with `signature` at the end.
fn behind(token: &str, header: &Value, signature: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

/// Every form in which the issuer's key is public, as somebody might take it for a secret.
fn public_forms(issuer: &Issuer) -> Vec<(&'static str, Vec<u8>)> {
    // `SubjectPublicKeyInfo` of a point of P-256 (RFC 5480 section 2): all of it but the point.
    const HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        3, 1, 7, 3, 0x42, 0,
    ];
    let jwk = issuer.jwks()["keys"][0].clone();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (x, y) = (part("x"), part("y"));
    let der = [&HEAD[..], &[4], &x, &y].concat();
    let base64 = STANDARD.encode(&der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    vec![
        ("2.1 HMAC by the public key in PEM", pem.clone().into_bytes()),
        ("2.1 HMAC by the public key in PEM, with its last newline", format!("{pem}\n").into_bytes()),
        ("2.1 HMAC by the public key in DER", der),
        ("2.1 HMAC by the public key as JWK", jwk.to_string().into_bytes()),
        ("2.1 HMAC by the key set", issuer.jwks().to_string().into_bytes()),
        ("2.1 HMAC by the x coordinate", x),
        ("2.1 HMAC by the x coordinate as it is written", jwk["x"].as_str().unwrap().into()),
    ]
}

/// The token's payload with a true MAC of it by `secret`.
fn with_mac(token: &str, secret: &[u8]) -> String {
    let signed = behind(token, &json!({ "alg": "HS256", "typ": "at+jwt", "kid": "k1" }), "");
    let signed = signed.trim_end_matches('.');
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// Tokens that a stranger signed, and that say at which address its key is.
fn pointing_at(url: &str, stranger: &Issuer, good: &str) -> Vec<Attack> {
    let at = |member: &str, kid: &str| {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
        header[member] = json!(format!("{url}/jwks"));
        stranger.sign(&header, &payload_of(good))
    };
    vec![
        ("2.9 an address of keys", "bad_signature", at("jku", "k1")),
        ("2.9 an address of keys, of a key that nobody knows", "unknown_key", at("jku", "k2")),
        ("2.9 an address of certificates", "bad_signature", at("x5u", "k1")),
        ("2.9 a kid that is an address", "unknown_key", with_kid(stranger, &format!("{url}/jwks"), good)),
    ]
}

fn with_kid(signer: &Issuer, kid: &str, good: &str) -> String {
    signer.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }), &payload_of(good))
}

/// What it is, why it is refused, and the token.
type Attack = (&'static str, &'static str, String);

fn attacks(issuer: &Issuer, stranger: &Issuer) -> Vec<Attack> {
    let good = issuer.token("alice", "api:read");
    let signature = good.rsplit('.').next().unwrap().to_owned();
    let with = |claims: Value| issuer.token_with(claims);
    let key_inside = json!({ "alg": "ES256", "typ": "at+jwt", "jwk": stranger.jwks()["keys"][0] });
    let parts: Vec<&str> = good.split('.').collect();
    vec![
        ("2.1 alg none", "algorithm_not_allowed", behind(&good, &json!({ "alg": "none" }), "")),
        (
            "2.1 alg none, with a signature",
            "algorithm_not_allowed",
            behind(&good, &json!({ "alg": "None" }), &signature),
        ),
        ("2.1 no signature", "bad_signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "2.1 a changed payload",
            "bad_signature",
            format!("{}.{}.{signature}", parts[0], payload_part(&with(json!({ "sub": "root" })))),
        ),
        ("2.3 an encrypted token", "unsupported_header", format!("{good}.AAAA.AAAA")),
        ("2.4 a compressed token", "unsupported_header", with_header(issuer, "zip", json!("DEF"))),
        (
            "3.4 a signature of zeros",
            "bad_signature",
            format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        ("2.6 a member twice", "token_malformed", twice(issuer, &good)),
        ("2.7 another issuer", "unknown_issuer", with(json!({ "iss": "https://evil.example" }))),
        ("2.7 another signer of the same kid", "bad_signature", stranger.token("alice", "api:read")),
        ("2.7 another audience", "wrong_audience", with(json!({ "aud": "https://other.example.com" }))),
        ("2.8 an ID token", "wrong_token_type", id_token(issuer)),
        ("2.8 a logout token", "wrong_token_type", with_header(issuer, "typ", json!("logout+jwt"))),
        ("2.9 a kid that is a path", "unknown_key", with_header(issuer, "kid", json!("../../dev/null"))),
        ("3.8 a key inside the token", "bad_signature", stranger.sign(&key_inside, &payload_of(&good))),
        ("RFC 7515 4.1.11 crit", "unsupported_header", with_header(issuer, "crit", json!(["exp"]))),
        ("expired", "token_expired", with(json!({ "iat": 1, "exp": 2 }))),
        ("not yet valid", "token_not_yet_valid", with(json!({ "nbf": 99_999_999_999_u64 }))),
        ("for ever", "token_lives_too_long", with(json!({ "exp": 99_999_999_999_u64 }))),
        ("bound to a key", "proof_required", with(json!({ "cnf": { "jkt": "x" } }))),
        ("not a token", "token_malformed", "abc".to_owned()),
    ]
}

fn payload_part(token: &str) -> &str {
    token.split('.').nth(1).unwrap()
}

/// A payload with two subjects, truly signed.
fn twice(issuer: &Issuer, good: &str) -> String {
    let claims = payload_of(good).to_string();
    let doubled = format!(r#"{{"sub":"root",{}"#, claims.strip_prefix('{').unwrap());
    issuer.sign_text(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }).to_string(), &doubled)
}

fn id_token(issuer: &Issuer) -> String {
    let mut claims = payload_of(&issuer.token("alice", "api:read"));
    claims["nonce"] = json!("n");
    claims.as_object_mut().unwrap().remove("client_id");
    issuer.sign(&json!({ "alg": "ES256", "kid": "k1" }), &claims)
}

#[tokio::test]
async fn every_attack_of_rfc_8725_is_401_and_reaches_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let stranger = Issuer::new();
    let jwks = stranger.jwks().to_string();
    let theirs = Upstream::answering(Arc::new(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{jwks}",
            jwks.len()
        )
        .into_bytes()
    }))
    .await;
    let good = gateway.issuer.token("alice", "api:read");
    let mut attacks = attacks(&gateway.issuer, &stranger);
    attacks.extend(pointing_at(&theirs.url(), &stranger, &good));
    let macs = public_forms(&gateway.issuer).into_iter();
    attacks.extend(macs.map(|(form, secret)| (form, "algorithm_not_allowed", with_mac(&good, &secret))));
    let mut client = gateway.connect().await;
    let mut others = Vec::new();
    for (attack, reason, token) in attacks {
        let bearer = format!("Bearer {token}");
        for path in ["/api/x", "/public/x"] {
            let answer = client.get(path, &[("Authorization", &bearer)]).await;
            assert_eq!(answer.status, 401, "{attack} at {path}");
            let said = answer.json()["type"].as_str().unwrap().to_owned();
            if said != format!("urn:tollgate:refusal:{reason}") {
                others.push(format!("{attack} at {path}: {said}, and not {reason}"));
            }
            let challenge = answer.challenge().unwrap_or_default();
            assert!(challenge.contains(r#"error="invalid_token""#), "{attack}: {challenge}");
        }
    }
    assert!(others.is_empty(), "refused for another reason:\n{}", others.join("\n"));
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(theirs.received().len(), 0, "nobody went where a token pointed");
    let good = gateway.bearer("alice", "api:read");
    assert_eq!(client.get("/api/x", &[("Authorization", &good)]).await.status, 200);
    assert_eq!(upstream.received().len(), 1, "and the token that was attacked is good");
}
