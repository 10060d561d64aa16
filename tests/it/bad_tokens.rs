//! The attacks that RFC 8725 lists, one of each kind, at the socket: 401 with `invalid_token`, and
//! nothing reaches the upstream. All their variants are in `src/core/token/attacks/`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

fn attacks(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let good = issuer.token("alice", "api:read");
    let signature = good.rsplit('.').next().unwrap().to_owned();
    let with = |claims: Value| issuer.token_with(claims);
    let stranger = Issuer::new();
    let key_inside = json!({ "alg": "ES256", "typ": "at+jwt", "jwk": stranger.jwks()["keys"][0] });
    let parts: Vec<&str> = good.split('.').collect();
    vec![
        ("2.1 alg none", behind(&good, &json!({ "alg": "none" }), "")),
        ("2.1 alg none, with a signature", behind(&good, &json!({ "alg": "None" }), &signature)),
        ("2.1 HMAC by the public key", behind(&good, &json!({ "alg": "HS256", "kid": "k1" }), &signature)),
        ("2.1 no signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "2.1 a changed payload",
            format!("{}.{}.{signature}", parts[0], payload_part(&with(json!({ "sub": "root" })))),
        ),
        ("2.3 an encrypted token", format!("{good}.AAAA.AAAA")),
        ("2.4 a compressed token", with_header(issuer, "zip", json!("DEF"))),
        (
            "2.5 a signature of zeros",
            format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        ),
        ("2.6 a member twice", twice(issuer, &good)),
        ("2.7 another issuer", with(json!({ "iss": "https://evil.example" }))),
        ("2.7 another signer of the same kid", stranger.token("alice", "api:read")),
        ("2.7 another audience", with(json!({ "aud": "https://other.example.com" }))),
        ("2.8 an ID token", id_token(issuer)),
        ("2.8 a logout token", with_header(issuer, "typ", json!("logout+jwt"))),
        ("2.9 a kid that is a path", with_header(issuer, "kid", json!("../../dev/null"))),
        ("2.10 a key inside the token", stranger.sign(&key_inside, &payload_of(&good))),
        ("2.10 an address of keys", with_header(issuer, "kid", json!("http://127.0.0.1:1/jwks"))),
        ("3.10 crit", with_header(issuer, "crit", json!(["exp"]))),
        ("expired", with(json!({ "iat": 1, "exp": 2 }))),
        ("not yet valid", with(json!({ "nbf": 99_999_999_999_u64 }))),
        ("for ever", with(json!({ "exp": 99_999_999_999_u64 }))),
        ("bound to a key", with(json!({ "cnf": { "jkt": "x" } }))),
        ("not a token", "abc".to_owned()),
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
    issuer.sign(&json!({ "alg": "ES256", "kid": "k1" }), &claims)
}

#[tokio::test]
async fn every_attack_of_rfc_8725_is_401_and_reaches_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut client = gateway.connect().await;
    for (attack, token) in attacks(&gateway.issuer) {
        let bearer = format!("Bearer {token}");
        for path in ["/api/x", "/public/x"] {
            let answer = client.get(path, &[("Authorization", &bearer)]).await;
            assert_eq!(answer.status, 401, "{attack} at {path}");
            let challenge = answer.challenge().unwrap_or_default();
            assert!(challenge.contains(r#"error="invalid_token""#), "{attack}: {challenge}");
        }
    }
    assert_eq!(upstream.received().len(), 0);
    let good = gateway.bearer("alice", "api:read");
    assert_eq!(client.get("/api/x", &[("Authorization", &good)]).await.status, 200);
    assert_eq!(upstream.received().len(), 1, "and the token that was attacked is good");
}
