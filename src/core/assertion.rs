//! The assertion: a JWT (RFC 7515, RFC 7519) in which the gateway tells an upstream who calls, so that the
//! upstream need not believe whoever can reach it. It is meant for one upstream, and where the operator asks
//! for it for one request.
//!
//! It must never pass for an access token: its `typ` is one that no access token has (RFC 8725 section 3.11).
//! Nor may it outlive the token that it was made from.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::json;

use crate::core::caller::Caller;
use crate::core::ids::UpstreamName;
use crate::core::signing::{SigningFailed, SigningKey};
use crate::core::time::Timestamp;
use crate::core::token::kind::ASSERTION_TYPE;

/// What an assertion is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Any request to its upstream.
    Upstream,
    /// One method and path at its upstream, once.
    Request,
}

/// How a route has them made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionRules {
    /// Carries it.
    pub header: HeaderName,
    pub ttl: Duration,
    pub binding: Binding,
}

/// Who signs, with which keys.
pub struct Assertions {
    /// `iss`: `public_url`.
    issuer: String,
    /// The first signs, all are published.
    keys: Vec<SigningKey>,
    /// The JOSE header of the first key, encoded.
    jose_header: String,
    jwks: Bytes,
}

/// There is no key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key that signs assertions")]
pub struct NoKey;

/// Whom and what an assertion is for.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub upstream: &'a UpstreamName,
    /// Set: for this request only.
    pub request: Option<RequestFacts<'a>>,
}

/// One request, as it was judged.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    pub method: &'a Method,
    /// The canonical path, without a query.
    pub path: &'a str,
    /// 128 random bits.
    pub id: [u8; 16],
}

/// An assertion, as a header's value.
#[derive(Clone, Debug)]
pub struct Made {
    pub value: HeaderValue,
    pub made_at: Timestamp,
    /// Until half its life is over: an upstream whose clock is off, or that is slow, still has the other
    /// half.
    pub fresh_until: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_id: Option<SubjectId<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// RFC 9493 section 3.2.3: a `sub` is one person at one issuer only, and `iss` is ours here.
#[derive(Serialize)]
struct SubjectId<'a> {
    format: &'static str,
    iss: &'a str,
    sub: &'a str,
}

impl Assertions {
    /// `issuer`: `public_url`. `keys`: the first signs.
    ///
    /// # Errors
    /// Without any key.
    pub fn new(issuer: String, keys: Vec<SigningKey>) -> Result<Self, NoKey> {
        let first = keys.first().ok_or(NoKey)?;
        let jose = json!({ "alg": first.algorithm().name(), "kid": first.kid(), "typ": ASSERTION_TYPE });
        let jose_header = URL_SAFE_NO_PAD.encode(jose.to_string());
        let public: Vec<_> = keys.iter().map(SigningKey::public_jwk).collect();
        let jwks = Bytes::from(json!({ "keys": public }).to_string());
        Ok(Self { issuer, keys, jose_header, jwks })
    }

    /// The public halves of all keys, as a JWK Set (RFC 7517 section 5).
    pub fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// `iss`: of the issuer of the token. `ttl`: at most.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn make(
        &self,
        caller: &Caller,
        iss: &str,
        about: About<'_>,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Made, SigningFailed> {
        // Client and subject as the identity headers say them: in a session not only the access token names
        // them, nor the session.
        let (token, subject) = (caller.token(), caller.subject_told());
        let ends = now.plus(ttl).min(token.good_until());
        let claims = Claims {
            iss: &self.issuer,
            aud: about.upstream.as_str(),
            sub: subject,
            sub_id: subject.map(|sub| SubjectId { format: "iss_sub", iss, sub }),
            client_id: caller.facts().client,
            scope: Some(token.scope().joined()).filter(|scope| !scope.is_empty()),
            sid: caller.session_told(),
            iat: now.as_secs(),
            // Never in the past, although a token may end within this second.
            exp: ends.as_secs().max(now.as_secs().saturating_add(1)),
            method: about.request.map(|request| request.method.as_str()),
            path: about.request.map(|request| request.path),
            jti: about.request.map(|request| URL_SAFE_NO_PAD.encode(request.id)),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| SigningFailed)?;
        let key = self.keys.first().ok_or(SigningFailed)?;
        let mut text = String::with_capacity(self.jose_header.len() + claims.len() * 4 / 3 + 600);
        text.push_str(&self.jose_header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&claims, &mut text);
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        let mut value = HeaderValue::try_from(text).map_err(|_| SigningFailed)?;
        value.set_sensitive(true);
        Ok(Made { value, made_at: now, fresh_until: now.plus(ends.since(now) / 2) })
    }
}

impl fmt::Debug for Assertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertions").field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::core::denial::Denial;
    use crate::core::identity_headers::WhichList;
    use crate::core::signing::write_pem;
    use crate::core::token::TokenRules;
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{ISS, NOW, claims, jwks, keys, rules, with};

    const GATE: &str = "https://gate.example";

    fn p256() -> SigningKey {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let curve = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        SigningKey::from_pem(write_pem(der.as_ref()).as_bytes()).unwrap()
    }

    const TTL: Duration = Duration::from_secs(60);

    fn assertions() -> Assertions {
        Assertions::new(GATE.to_owned(), vec![p256(), p256()]).unwrap()
    }

    fn caller(changes: Value) -> Caller<()> {
        let set = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        let text = keys().p256.sign(&with(claims(), changes));
        let token = Unverified::parse(&text, 8192).unwrap().verify(&set, &rules(), NOW).unwrap();
        Caller::new(token, &[], ())
    }

    fn claim_header(claim: &str) -> &'static str {
        if claim == "sub" { "x-auth-subject" } else { "x-auth-client" }
    }

    fn read(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    fn claims_of(made: &Made) -> Value {
        read(made.value.to_str().unwrap().split('.').nth(1).unwrap())
    }

    #[test]
    fn it_says_who_calls_for_one_upstream_and_verifies_by_the_published_keys() {
        let assertions = assertions();
        let upstream = UpstreamName::new("api");
        let about = About { upstream: &upstream, request: None };
        let made = assertions.make(&caller(json!({ "sid": "s-1" })), ISS, about, TTL, NOW).unwrap();
        let claims = claims_of(&made);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(GATE), &json!("api")));
        assert_eq!(claims["sub_id"], json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" }));
        assert_eq!((&claims["sub"], &claims["sid"]), (&json!("alice"), &json!("s-1")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        assert!(claims.get("jti").is_none() && claims.get("path").is_none());
        assert_eq!(made.fresh_until, NOW.plus(Duration::from_secs(30)));
        // Its signature, by the set that is published; the second key is there for the next rotation.
        let (set, skipped) = KeySet::parse(assertions.jwks()).unwrap();
        assert_eq!((set.len(), skipped.len()), (2, 0));
        let (signed, signature) = made.value.to_str().unwrap().rsplit_once('.').unwrap();
        let kid = read(signed.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned();
        let key = set.candidates(Some(&kid), crate::core::token::Algorithm::Es256).unwrap().next().unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.signed(crate::core::token::Algorithm::Es256, signed.as_bytes(), &signature));
    }

    #[test]
    fn it_is_no_access_token_even_where_its_issuer_would_be_one() {
        let assertions = assertions();
        let upstream = UpstreamName::new("https://api.example.com");
        let about = About { upstream: &upstream, request: None };
        let made = assertions.make(&caller(json!({})), ISS, about, TTL, NOW).unwrap();
        let set = KeySet::parse(assertions.jwks()).unwrap().0;
        let rules = TokenRules { iss: GATE.to_owned(), ..rules() };
        let judged = Unverified::parse(made.value.to_str().unwrap(), 8192).unwrap().verify(&set, &rules, NOW);
        assert_eq!(judged.unwrap_err(), Denial::WrongTokenType);
    }

    #[test]
    fn of_a_session_it_says_what_the_headers_say() {
        let assertions = assertions();
        let upstream = UpstreamName::new("api");
        let about = About { upstream: &upstream, request: None };
        let headers = ["sub", "client_id"]
            .map(|claim| (HeaderName::from_static(claim_header(claim)), claim.to_owned()));
        let headers = [headers.to_vec()];
        let id_token = |claims: Value| claims.as_object().unwrap().clone();
        for (access_token, session, id_token, sub, client, sid) in [
            (json!({}), None, None, Some("alice"), "web-app", None),
            (json!({ "sid": "s-1" }), None, None, Some("alice"), "web-app", Some("s-1")),
            (json!({}), Some("s-2"), None, Some("alice"), "web-app", Some("s-2")),
            // As the issuer's logout tokens name it.
            (json!({ "sid": "s-1" }), Some("s-2"), None, Some("alice"), "web-app", Some("s-2")),
            (json!({ "client_id": null }), None, None, Some("alice"), "session-client", None),
            (
                json!({ "client_id": null }),
                Some("s-2"),
                Some(id_token(json!({ "sub": "alice@corp" }))),
                Some("alice@corp"),
                "session-client",
                Some("s-2"),
            ),
            (json!({}), None, Some(id_token(json!({ "name": "Alice" }))), None, "web-app", None),
        ] {
            let caller =
                caller(access_token).of_session("session-client", session, id_token.as_ref(), &headers);
            let claims = claims_of(&assertions.make(&caller, ISS, about, TTL, NOW).unwrap());
            let header = |claim| {
                let name = claim_header(claim);
                caller
                    .identity(WhichList::default())
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.to_str().unwrap())
            };
            assert_eq!((claims["sub"].as_str(), claims["sub_id"]["sub"].as_str()), (sub, sub));
            assert_eq!((&claims["client_id"], claims["sid"].as_str()), (&json!(client), sid));
            assert_eq!((header("sub"), header("client_id")), (sub, Some(client)));
        }
    }

    /// What a token lists as one value is no two to whoever reads the assertion.
    #[test]
    fn its_scope_names_nothing_that_the_token_does_not() {
        let assertions = assertions();
        let upstream = UpstreamName::new("api");
        let about = About { upstream: &upstream, request: None };
        for (scope, told) in [
            (json!(["api:read", "x admin"]), Some("api:read")),
            (json!(["x\tadmin", "api:read", "x\u{2003}admin", "x\nadmin"]), Some("api:read")),
            (json!(["x admin"]), None),
            (json!("api:read admin"), Some("api:read admin")),
        ] {
            let caller = caller(json!({ "scope": scope }));
            let claims = claims_of(&assertions.make(&caller, ISS, about, TTL, NOW).unwrap());
            assert_eq!(claims.get("scope").and_then(Value::as_str), told, "{scope}");
        }
    }

    #[test]
    fn one_for_a_request_names_it_and_has_an_id() {
        let assertions = assertions();
        let upstream = UpstreamName::new("api");
        let request = RequestFacts { method: &Method::DELETE, path: "/a%2C/b", id: [7; 16] };
        let about = About { upstream: &upstream, request: Some(request) };
        let claims = claims_of(&assertions.make(&caller(json!({})), ISS, about, TTL, NOW).unwrap());
        assert_eq!((&claims["method"], &claims["path"]), (&json!("DELETE"), &json!("/a%2C/b")));
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
    }

    #[test]
    fn it_does_not_outlive_its_token() {
        let assertions = assertions();
        let upstream = UpstreamName::new("api");
        let about = About { upstream: &upstream, request: None };
        let short = caller(json!({ "exp": NOW.as_secs() + 10 }));
        let skew = rules().clock_skew.as_secs();
        let made = assertions.make(&short, ISS, about, TTL, NOW).unwrap();
        let left = (10 + skew).min(60);
        assert_eq!(claims_of(&made)["exp"].as_i64().unwrap() - NOW.as_secs(), i64::try_from(left).unwrap());
        assert_eq!(made.fresh_until, NOW.plus(Duration::from_millis(left * 500)));
    }

    #[test]
    fn every_kind_of_key_signs_under_a_name_of_its_own() {
        use aws_lc_rs::encoding::AsDer as _;
        let rsa = aws_lc_rs::signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let ed = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        let ed: aws_lc_rs::encoding::Pkcs8V1Der<'_> = ed.as_der().unwrap();
        let random = aws_lc_rs::rand::SystemRandom::new();
        let p384 = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(
            &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &random,
        )
        .unwrap();
        let upstream = UpstreamName::new("api");
        let about = About { upstream: &upstream, request: None };
        for (der, algorithm) in [(rsa.as_ref(), "RS256"), (p384.as_ref(), "ES384"), (ed.as_ref(), "EdDSA")] {
            let key = SigningKey::from_pem(write_pem(der).as_bytes()).unwrap();
            assert_eq!(key.algorithm().name(), algorithm);
            let assertions = Assertions::new(GATE.to_owned(), vec![key]).unwrap();
            let made = assertions.make(&caller(json!({})), ISS, about, TTL, NOW).unwrap();
            let (set, skipped) = KeySet::parse(assertions.jwks()).unwrap();
            assert!(skipped.is_empty(), "{skipped:?}");
            let (signed, signature) = made.value.to_str().unwrap().rsplit_once('.').unwrap();
            let algorithm = crate::core::token::Algorithm::parse(algorithm).unwrap();
            let kid = read(signed.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned();
            let key = set.candidates(Some(&kid), algorithm).unwrap().next().unwrap();
            assert!(key.signed(algorithm, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()));
        }
    }
}
