//! Every attack that RFC 8725 sections 2 and 3 describe, and its neighbours, each with its name and
//! its refusal. The answer to all of them is 401 (or, for what is too large, 431).

mod contents;
mod examples;
mod signatures;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::core::denial::Denial;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::core::token::testing::{
    self, AUDIENCE, ISS, LONG_SECRET, NOW, OF_A_SECRET, SECRET, claims, jwks, keys, rules, sign_hmac,
    sign_hs256, unsigned, with,
};
use crate::core::token::verified::VerifiedToken;
use crate::core::token::{Algorithm, TokenRules};

fn known_keys() -> KeySet {
    let keys = keys();
    KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk(), keys.p384.jwk(), keys.ed.jwk()])).unwrap().0
}

fn judge_by(rules: &TokenRules, token: &str) -> Result<VerifiedToken, Denial> {
    Ok(Unverified::parse(token, 8192)?.verify(&known_keys(), rules, NOW)?)
}

/// Refused, with 401, for this reason.
#[track_caller]
fn refused(token: &str, why: &Denial) {
    refused_by(&rules(), token, why);
}

#[track_caller]
fn refused_by(rules: &TokenRules, token: &str, why: &Denial) {
    let denial = judge_by(rules, token).expect_err(token);
    assert_eq!(std::mem::discriminant(&denial), std::mem::discriminant(why), "{denial:?} for {token}");
    assert_eq!(denial.facts().status, StatusCode::UNAUTHORIZED);
}

const MALFORMED: Denial = Denial::TokenMalformed("");

/// A token signed well by the P-256 key, with this header and these claims.
fn signed(header: Value, claims: &Value) -> String {
    keys().p256.sign_as(&with(json!({"alg": "ES256", "kid": "p256", "typ": "at+jwt"}), header), claims)
}

#[test]
fn the_tokens_that_are_attacked_here_are_good_before() {
    assert!(judge_by(&rules(), &signed(json!({}), &claims())).is_ok());
}
