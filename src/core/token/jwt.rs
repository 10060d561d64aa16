//! Judges an access token: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best practices), RFC 9068
//! (`at+jwt`). Three steps, each a type, so that none can be left out:
//!
//! [`Unverified`] (its form is right) → [`Plausible`] (it would be good if its signature held; no key
//! was touched) → [`VerifiedToken`] (it is good).
//!
//! What it must never do: believe a token before its signature held; take a key, or the address of
//! one, from a token (`jwk`, `jku`, `x5u`, `x5c` are not looked at); let the token choose an
//! algorithm that its issuer or its key does not have (RFC 8725 sections 3.1 and 3.2).
//!
//! The cheap checks come first and compare the token with the clock and the issuer's public facts
//! only. Which audiences are accepted is told to nobody whose signature does not hold.
//!
//! `iat` is required although RFC 7519 leaves it out at will (RFC 9068 section 2.2 does not): without
//! it nobody can tell that a token lives no longer than `max_token_lifetime`, and a revocation, which
//! is kept for that long, could be outlived. The other claims that RFC 9068 section 2.2 requires are
//! demanded where the operator asks for its profile (`token_type: at+jwt`): section 4 does not make a
//! resource server do so, and widely used servers leave `sub` out where a client calls for itself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::audience::check_audience;
use crate::core::token::binding::bound_to;
use crate::core::token::check::{Check, Failed};
use crate::core::token::jwks::{Key, KeySet, Miss};
use crate::core::token::kind::{calls_itself_access_token, is_type, is_unspecific, mark_of_another_kind};
use crate::core::token::verified::{Times, VerifiedToken, date};
use crate::core::token::{Algorithm, TokenRules, json};

/// The largest signature that can hold: RSA of 8192 bits, in bytes.
const MAX_SIGNATURE: usize = 1024;

/// A token whose form was checked and nothing else. It says which issuer and key to ask, and must
/// not be believed in anything.
#[derive(Debug)]
pub struct Unverified<'t> {
    /// Header and payload, as they were signed.
    signed: &'t str,
    signature: &'t str,
    header: Header,
    claims: Map<String, Value>,
}

/// The header parameters that are looked at.
#[derive(Debug)]
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

/// What a token says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Says<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<&'a str>,
    pub typ: Option<&'a str>,
    pub claims: &'a Map<String, Value>,
}

impl Says<'_> {
    /// The claim by which it shows that it is none for an API, where its header does not say what it is.
    pub fn mark_of_another_kind(&self, rules: &TokenRules) -> Option<&'static str> {
        mark_of_another_kind(self.typ, self.claims, rules)
    }
}

impl<'t> Unverified<'t> {
    /// Size before anything else, then form: a JWS in compact serialization (RFC 7515 section 7.1)
    /// over a JSON object. `limit` is in bytes.
    ///
    /// # Errors
    /// `TokenTooLarge`, `TokenMalformed`, `UnsupportedHeader` (an extension that must be understood,
    /// compression, encryption) or `AlgorithmNotAllowed` (one that cannot be expressed, as `none`).
    pub fn parse(text: &'t str, limit: usize) -> Result<Self, Failed> {
        if text.len() > limit {
            return Err(Check::Size.failed(Denial::TokenTooLarge));
        }
        let malformed = Denial::TokenMalformed("The token is not three base64url parts with dots between.");
        let no_jws = || Check::Form.failed(malformed.clone());
        let (signed, signature) = text.rsplit_once('.').ok_or_else(no_jws)?;
        let (header, payload) = signed.split_once('.').ok_or_else(no_jws)?;
        match payload.bytes().filter(|b| *b == b'.').count() {
            0 => {}
            // RFC 7516 section 7.1: a JWE has five parts
            2 => return Err(Check::Form.failed(Denial::UnsupportedHeader)),
            _ => return Err(no_jws()),
        }
        let header = decode(header).ok_or_else(|| malformed.clone()).and_then(|bytes| Header::parse(&bytes));
        let header = header.map_err(|denial| Check::Header.failed(denial))?;
        let claims = decode(payload).ok_or(malformed).and_then(|payload| {
            json::object(&payload).map_err(|_| {
                Denial::TokenMalformed("The token's payload is not a JSON object without repeated members.")
            })
        });
        let claims = claims.map_err(|denial| Check::Payload.failed(denial))?;
        Ok(Self { signed, signature, header, claims })
    }

    /// What the token says is its issuer; only good for choosing whose keys to try. Empty when it
    /// says nothing, or not in a string.
    pub fn iss(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// What it says of itself, for people to look at. None of it is proven.
    pub fn says(&self) -> Says<'_> {
        let Header { algorithm, kid, typ } = &self.header;
        Says { algorithm: *algorithm, kid: kid.as_deref(), typ: typ.as_deref(), claims: &self.claims }
    }

    /// What can be refused without a key: issuer, algorithm, type, times.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(self, rules: &TokenRules, now: Timestamp) -> Result<Plausible<'t, '_>, Failed> {
        if !rules.takes_access_tokens_of(self.iss()) {
            return Err(Check::Issuer.failed(Denial::UnknownIssuer));
        }
        if !rules.algorithms.contains(&self.header.algorithm) {
            return Err(Check::Algorithm.failed(Denial::AlgorithmNotAllowed));
        }
        let typed = self.header.check_type(rules, &self.claims);
        typed.map_err(|denial| Check::Type.failed(denial))?;
        let times = check_times(&self.claims, rules, now).map_err(|denial| Check::Times.failed(denial))?;
        bound_to(&self.claims).map_err(|denial| Check::Binding.failed(denial))?;
        Ok(Plausible { token: self, rules, now, times })
    }

    /// The whole judgement.
    ///
    /// # Errors
    /// The first thing that is wrong; `UnknownKey` only for a token in which all else that can be
    /// seen without a key is right.
    pub fn verify(self, keys: &KeySet, rules: &TokenRules, now: Timestamp) -> Result<VerifiedToken, Failed> {
        self.check(rules, now)?.verify(keys)
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Denial> {
        let mut members = json::object(bytes).map_err(|_| {
            Denial::TokenMalformed("The token's header is not a JSON object without repeated members.")
        })?;
        if ["crit", "b64", "zip", "enc"].iter().any(|name| members.contains_key(*name)) {
            return Err(Denial::UnsupportedHeader);
        }
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                Err(Denial::TokenMalformed("alg, kid, typ and cty of the token's header must be strings."))
            }
        };
        if text("cty")?.is_some_and(|content| is_type(&content, "jwt")) {
            return Err(Denial::UnsupportedHeader); // RFC 7519 section 5.2: within it is another token
        }
        let name = text("alg")?.ok_or(Denial::TokenMalformed("The token's header has no alg."))?;
        let algorithm = Algorithm::parse(&name).ok_or(Denial::AlgorithmNotAllowed)?;
        Ok(Self { algorithm, kid: text("kid")?, typ: text("typ")? })
    }

    /// RFC 8725 sections 3.11 and 3.12: a JWT of another kind must not pass as an access token.
    fn check_type(&self, rules: &TokenRules, claims: &Map<String, Value>) -> Result<(), Denial> {
        let typ = self.typ.as_deref();
        let fits = match &rules.token_type {
            Some(only) => typ.is_some_and(|typ| is_type(typ, only)),
            None => is_unspecific(typ) || typ.is_some_and(|typ| is_type(typ, "at+jwt")),
        };
        let fits = fits && mark_of_another_kind(typ, claims, rules).is_none();
        if fits { Ok(()) } else { Err(Denial::WrongTokenType) }
    }
}

impl TokenRules {
    /// Whether a token may come without a `typ` that says what kind of JWT it is.
    pub fn takes_unspecific_types(&self) -> bool {
        is_unspecific(self.token_type.as_deref())
    }

    /// Whether they are clients only: without a specific `typ` a token that is meant for these is an ID
    /// token.
    pub fn are_clients(&self, audiences: &[impl AsRef<str>]) -> bool {
        !audiences.is_empty()
            && audiences.iter().all(|name| self.client_ids.iter().any(|client| client == name.as_ref()))
    }

    /// Whether they must be as RFC 9068 section 2.2 has them.
    pub fn asks_for_rfc_9068(&self) -> bool {
        self.token_type.as_deref().is_some_and(|only| is_type(only, "at+jwt"))
    }
}

const NO_EXP: Denial =
    Denial::TokenMalformed("The token does not say when it ends (exp), which is required.");
const NO_IAT: Denial = Denial::TokenMalformed(
    "The token does not say when it was issued (iat), which is required: how long it lives is told by it.",
);

/// RFC 7519 sections 4.1.4 to 4.1.6. A token is expired from `exp` on, not only after it.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    rules: &TokenRules,
    now: Timestamp,
) -> Result<Times, Denial> {
    let (issued_at, expires_at) = (date(claims, "iat")?, date(claims, "exp")?);
    let expires_at = expires_at.ok_or(NO_EXP)?;
    let issued_at = issued_at.ok_or(NO_IAT)?;
    if now >= expires_at.plus(rules.clock_skew) {
        return Err(Denial::TokenExpired);
    }
    let starts_at = date(claims, "nbf")?.unwrap_or(issued_at).max(issued_at);
    if starts_at > now.plus(rules.clock_skew) {
        return Err(Denial::TokenNotYetValid);
    }
    if expires_at.since(issued_at) > rules.max_token_lifetime {
        return Err(Denial::TokenLivesTooLong);
    }
    Ok(Times { issued_at, starts_at, expires_at })
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// A token that would be good if its signature held. Still not to be believed.
#[derive(Debug)]
pub struct Plausible<'t, 'r> {
    token: Unverified<'t>,
    rules: &'r TokenRules,
    now: Timestamp,
    times: Times,
}

impl Plausible<'_, '_> {
    /// Whether these keys could decide about it: `false` only for a key that a newer set may have.
    pub fn key_is_known(&self, keys: &KeySet) -> bool {
        self.token.key_is_known(keys)
    }

    /// Like [`Self::key_is_known`], for a token that came from its issuer itself: where it names no key, and
    /// none of these signed it, it is of one that a newer set may have (RFC 7515 section 4.1.4: `kid` is
    /// optional). Whoever else shows one could make the issuer be asked with any bytes.
    pub fn key_is_at_hand(&self, keys: &KeySet) -> bool {
        self.token.key_is_at_hand(keys)
    }

    /// Signature, then audience and the claims that Tollgate uses.
    ///
    /// # Errors
    /// `UnknownKey`, `AlgorithmNotAllowed` (the key is for another), `BadSignature`,
    /// `WrongAudience`, `WrongTokenType` (an ID token by its audience), `TokenMalformed`.
    pub fn verify(self, keys: &KeySet) -> Result<VerifiedToken, Failed> {
        let Self { token, rules, now, times } = self;
        let kid = token.signer(keys)?.kid().map(ToOwned::to_owned);
        let Unverified { header, mut claims, .. } = token;
        let typ = header.typ.as_deref();
        let audiences = check_audience(&claims, rules, || calls_itself_access_token(typ, &claims));
        let audiences = audiences.map_err(|denial| Check::Audience.failed(denial))?;
        if is_unspecific(typ) && rules.are_clients(&audiences) {
            return Err(Check::Audience.failed(Denial::WrongTokenType));
        }
        rules.name_issuer(&mut claims);
        let verified = VerifiedToken::of_claims(claims, kid, times, rules, now);
        let verified = verified.map_err(|denial| Check::Identifiers.failed(denial))?;
        let is_complete =
            verified.subject().is_some() && verified.client().is_some() && verified.id().is_some();
        if rules.asks_for_rfc_9068() && !is_complete {
            let incomplete = Denial::TokenMalformed("An at+jwt must say sub, client_id and jti.");
            return Err(Check::Identifiers.failed(incomplete));
        }
        Ok(verified)
    }
}

impl Unverified<'_> {
    /// As [`Plausible::key_is_known`].
    pub(super) fn key_is_known(&self, keys: &KeySet) -> bool {
        keys.candidates(self.kid(), self.header.algorithm).err() != Some(Miss::Unknown)
    }

    /// As [`Plausible::key_is_at_hand`].
    pub(super) fn key_is_at_hand(&self, keys: &KeySet) -> bool {
        let is_of_another = || self.signer(keys).is_err_and(|failed| failed.denial == Denial::BadSignature);
        self.key_is_known(keys) && (self.kid().is_some() || !is_of_another())
    }

    /// The claims, for whoever has seen that the signature holds ([`Self::signer`]).
    pub(super) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }

    /// The key that signed it.
    pub(super) fn signer<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, Failed> {
        let algorithm = self.header.algorithm;
        let mut candidates = keys.candidates(self.kid(), algorithm).map_err(|miss| {
            Check::Key.failed(match miss {
                Miss::Unknown => Denial::UnknownKey,
                Miss::Ambiguous => Denial::TokenMalformed(
                    "The token's header names no key (kid), and more than four of its issuer's would fit.",
                ),
                Miss::WrongAlgorithm => Denial::AlgorithmNotAllowed,
            })
        })?;
        let mut buffer = [0; MAX_SIGNATURE];
        let decoded = URL_SAFE_NO_PAD.decode_slice(self.signature, &mut buffer);
        let length = decoded.map_err(|error| {
            Check::Signature.failed(match error {
                base64::DecodeSliceError::OutputSliceTooSmall => Denial::BadSignature,
                base64::DecodeSliceError::DecodeError(_) => {
                    Denial::TokenMalformed("The token's signature is not base64url.")
                }
            })
        })?;
        let signature = buffer.get(..length).unwrap_or_default();
        let signed = |key: &&Key| key.signed(algorithm, self.signed.as_bytes(), signature);
        candidates.find(signed).ok_or(Check::Signature.failed(Denial::BadSignature))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::core::token::testing::{self, NOW, claims, jwks, keys, rules, with};
    use crate::core::token::verified::scope_values;

    fn all_keys() -> KeySet {
        let keys = keys();
        KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk(), keys.p384.jwk(), keys.ed.jwk()])).unwrap().0
    }

    fn judge_by(rules: &TokenRules, token: &str) -> Result<VerifiedToken, Denial> {
        Ok(Unverified::parse(token, 8192)?.verify(&all_keys(), rules, NOW)?)
    }

    #[test]
    fn a_token_that_names_no_key_may_be_of_a_newer_one_where_its_issuer_gave_it() {
        let (rules, new) = (rules(), testing::new_p256("p256"));
        let nameless = json!({ "alg": "ES256" });
        for (token, is_at_hand) in [
            (new.sign_as(&nameless, &claims()), false),
            (keys().p256.sign_as(&nameless, &claims()), true),
            (new.sign(&claims()), true), // It names a key that is there, and is forged.
        ] {
            let plausible = Unverified::parse(&token, 8192).unwrap().check(&rules, NOW).unwrap();
            assert!(plausible.key_is_known(&all_keys()), "whoever else shows it has nobody asked");
            assert_eq!(plausible.key_is_at_hand(&all_keys()), is_at_hand);
        }
    }

    #[test]
    fn a_token_that_names_no_key_is_known_by_the_one_that_signed_it() {
        let alone = KeySet::parse(&jwks(&[keys().p256.jwk()])).unwrap().0;
        for header in [json!({ "alg": "ES256" }), json!({ "alg": "ES256", "kid": keys().p256.kid })] {
            let token = keys().p256.sign_as(&header, &claims());
            let verified = Unverified::parse(&token, 8192).unwrap().verify(&alone, &rules(), NOW).unwrap();
            assert_eq!(verified.kid(), Some(keys().p256.kid), "{header}");
        }
    }

    #[test]
    fn a_token_that_names_no_key_is_known_by_whichever_of_those_that_fit_has_signed_it() {
        let (old, new, stranger) =
            (testing::new_p256("old"), testing::new_p256("new"), testing::new_p256("old"));
        let set = |keys: &[&testing::TestKey]| {
            KeySet::parse(&jwks(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>())).unwrap().0
        };
        let judge = |key: &testing::TestKey, keys: &KeySet| {
            let token = key.sign_as(&json!({ "alg": "ES256", "typ": "at+jwt" }), &claims());
            Ok::<_, Denial>(Unverified::parse(&token, 8192)?.verify(keys, &rules(), NOW)?)
        };
        let rolling = set(&[&old, &new]);
        for key in [&old, &new] {
            assert_eq!(judge(key, &rolling).unwrap().kid(), Some(key.kid()));
        }
        assert_eq!(judge(&stranger, &rolling).unwrap_err(), Denial::BadSignature);
        let others: Vec<_> = ["a", "b", "c"].map(testing::new_p256).into();
        let many = set(&[&old, &new, &others[0], &others[1], &others[2]]);
        let denial = judge(&old, &many).unwrap_err();
        assert!(matches!(denial, Denial::TokenMalformed(why) if why.contains("names no key")), "{denial:?}");
    }

    fn judge(token: &str) -> Result<VerifiedToken, Denial> {
        judge_by(&rules(), token)
    }

    /// The judgement of a well-signed token with these claims changed.
    fn changed(changes: Value) -> Result<VerifiedToken, Denial> {
        judge(&keys().p256.sign(&with(claims(), changes)))
    }

    #[test]
    fn a_good_token_of_every_algorithm_is_verified() {
        let keys = keys();
        for (key, algorithm) in [
            (&keys.rsa, "RS256"),
            (&keys.rsa, "RS384"),
            (&keys.rsa, "RS512"),
            (&keys.rsa, "PS256"),
            (&keys.rsa, "PS384"),
            (&keys.rsa, "PS512"),
            (&keys.p256, "ES256"),
            (&keys.p384, "ES384"),
            (&keys.ed, "EdDSA"),
            (&keys.ed, "Ed25519"),
        ] {
            let token = key.sign_as(&json!({"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}), &claims());
            assert!(judge(&token).is_ok(), "{algorithm}");
        }
    }

    #[test]
    fn a_good_token_of_es512_is_verified() {
        use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let key = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(66);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-521", "kid": "p521", "x": encode(x), "y": encode(y)});
        let set = KeySet::parse(&jwks(&[jwk])).unwrap().0;
        let header = json!({"alg": "ES512", "kid": "p521", "typ": "at+jwt"}).to_string();
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims().to_string().as_bytes()));
        let signature = key.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", encode(signature.as_ref()));
        let rules = TokenRules { algorithms: vec![Algorithm::Es512], ..rules() };
        let verify = |token: &str| Unverified::parse(token, 8192).unwrap().verify(&set, &rules, NOW);
        assert!(verify(&token).is_ok());
        assert!(verify(&format!("{signed}.{}", encode(&[1; 132]))).is_err());
    }

    #[test]
    fn a_shared_secret_verifies_hs256_hs384_and_hs512_where_the_issuer_has_one() {
        for algorithm in testing::OF_A_SECRET {
            let header = json!({"alg": algorithm.name(), "kid": "any"});
            let token = testing::sign_hmac(algorithm, testing::LONG_SECRET, &header, &claims());
            let rules = TokenRules { algorithms: vec![algorithm], ..rules() };
            let judged = |secret: &[u8]| {
                let set = KeySet::shared_secret(secret, &[algorithm]).unwrap();
                Unverified::parse(&token, 8192).unwrap().verify(&set, &rules, NOW)
            };
            assert!(judged(testing::LONG_SECRET).is_ok(), "{}", algorithm.name());
            assert_eq!(judged(&[9; 64]).unwrap_err(), Denial::BadSignature);
        }
    }

    #[test]
    fn a_verified_token_says_what_it_was_signed_with() {
        let token = changed(json!({
            "scope": "api:read admin  api:read", "sid": "s-1", "auth_time": NOW.as_secs() - 5, "acr": "mfa",
        }))
        .unwrap();
        assert_eq!(token.issuer().as_str(), "demo");
        assert_eq!(token.subject(), Some("alice"));
        assert_eq!(token.client(), Some("web-app"));
        assert_eq!(token.scope().joined(), "api:read admin");
        assert_eq!((token.session(), token.id(), token.kid()), (Some("s-1"), Some("t-1"), Some("p256")));
        assert_eq!(token.signed_in_at(), Some(Timestamp::from_secs(NOW.as_secs() - 5)));
        assert_eq!(token.acr(), Some("mfa"));
        assert_eq!(token.issued_at(), Timestamp::from_secs(NOW.as_secs() - 60));
        assert_eq!(token.expires_at(), Timestamp::from_secs(NOW.as_secs() + 540));
        assert_eq!(token.claims().get("jti"), Some(&json!("t-1")));
    }

    #[test]
    fn claim_names_are_the_issuers_and_the_first_present_counts() {
        let token = changed(json!({"scope": null, "scp": ["a", "b", 3, "a"], "client_id": null, "cid": "c",
            "azp": "z", "jti": null, "uti": "u"}))
        .unwrap();
        assert_eq!(token.scope().joined(), "a b");
        assert_eq!((token.client(), token.id()), (Some("z"), Some("u")));
        let token = changed(json!({"scope": "one", "scp": ["two"]})).unwrap();
        assert_eq!(token.scope().joined(), "one");
        for grants_nothing in [json!(7), json!({"a": true}), json!([1, 2]), json!("")] {
            assert!(changed(json!({"scope": grants_nothing})).unwrap().scope().is_empty());
        }
    }

    #[test]
    fn a_scope_is_the_same_as_text_and_as_a_list_whichever_claim_holds_it() {
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(choices, spaces)| {
            const VALUES: [&str; 5] = ["api:read", "api:write", "a", "https://x.example/scope", "A"];
            let values: Vec<&str> =
                choices.iter().map(|at| VALUES[usize::from(*at) % VALUES.len()]).collect();
            let text = values.join(&" ".repeat(1 + usize::from(spaces % 3)));
            let of_text = scope_values(&json!(text));
            assert_eq!(of_text, scope_values(&json!(values)));
            assert!(values.iter().all(|value| of_text.contains(value)));
            let of_text: Vec<&str> = of_text.iter().collect();
            assert!(of_text.iter().enumerate().all(|(at, value)| !of_text[..at].contains(value)));
        });
        for (claims, scope, client, id) in [
            (json!({"scp": "a b"}), &["a", "b"][..], "web-app", "t-1"),
            (json!({"scp": ["a", "b"], "client_id": null, "azp": "azp"}), &["a", "b"], "azp", "t-1"),
            (json!({"scope": ["a"], "scp": ["b"], "client_id": null, "cid": "cid"}), &["a"], "cid", "t-1"),
            (
                json!({"scp": "a", "client_id": null, "appid": "appid", "jti": null, "uti": "uti"}),
                &["a"],
                "appid",
                "uti",
            ),
        ] {
            let absent = with(claims, json!({}));
            let all = with(with(self::claims(), json!({"scope": null})), absent.clone());
            let token = judge(&keys().p256.sign(&all)).unwrap();
            assert_eq!(
                (token.scope(), token.client(), token.id()),
                (&scope.iter().copied().collect(), Some(client), Some(id)),
                "{absent}"
            );
        }
    }

    #[test]
    fn a_token_is_expired_from_exp_on_after_the_skew() {
        let exp = |seconds: f64| changed(json!({"exp": NOW.as_secs() as f64 + seconds})).map(drop);
        assert_eq!(exp(-29.9), Ok(()));
        assert_eq!(exp(-30.0), Err(Denial::TokenExpired));
        assert_eq!(exp(-31.0), Err(Denial::TokenExpired));
        let strict = TokenRules { clock_skew: Duration::ZERO, ..rules() };
        let at =
            |exp: i64| judge_by(&strict, &keys().p256.sign(&with(claims(), json!({"exp": exp})))).map(drop);
        assert_eq!(at(NOW.as_secs()), Err(Denial::TokenExpired));
        assert_eq!(at(NOW.as_secs() + 1), Ok(()));
    }

    #[test]
    fn a_token_from_the_future_is_not_valid_yet() {
        for name in ["nbf", "iat"] {
            let start = |seconds: f64| changed(json!({name: NOW.as_secs() as f64 + seconds})).map(drop);
            assert_eq!(start(30.0), Ok(()), "{name}");
            assert_eq!(start(30.5), Err(Denial::TokenNotYetValid), "{name}");
        }
    }

    #[test]
    fn a_token_that_lives_too_long_or_does_not_say_is_refused() {
        let day = 24 * 3600;
        let iat = NOW.as_secs() - 60;
        assert!(changed(json!({"exp": iat + day})).is_ok());
        assert_eq!(changed(json!({"exp": iat + day + 1})).unwrap_err(), Denial::TokenLivesTooLong);
        for name in ["exp", "iat"] {
            let denial = changed(json!({ name: null })).unwrap_err();
            assert!(
                matches!(denial, Denial::TokenMalformed(why) if why.contains(&format!("({name})"))),
                "{denial:?}"
            );
        }
    }

    #[test]
    fn dates_are_numbers_between_1970_and_9999() {
        for name in ["exp", "iat", "nbf"] {
            for absurd in [
                json!("1800000000"),
                json!(-1),
                json!(-0.001),
                json!(1e300),
                json!(1e308),
                json!(9_007_199_254_740_993_u64),
                json!(u64::MAX),
                json!(i64::MIN),
                json!("NaN"),
                json!({ "$numberLong": "1800000000" }),
                json!(253_402_300_800_i64),
                json!([]),
                json!(true),
            ] {
                let refused = changed(json!({name: absurd})).unwrap_err();
                assert!(matches!(refused, Denial::TokenMalformed(_)), "{name}: {absurd}: {refused:?}");
            }
        }
        assert!(changed(json!({"exp": NOW.as_secs() as f64 + 0.5})).is_ok());
        let null = claims().to_string().replace("\"iat\":", "\"nbf\":null,\"iat\":");
        let header = r#"{"alg":"ES256","kid":"p256"}"#;
        let refused = judge(&keys().p256.sign_text(Algorithm::Es256, header, &null)).unwrap_err();
        assert!(matches!(refused, Denial::TokenMalformed(_)));
    }

    #[test]
    fn a_date_has_one_reading_whatever_its_spelling() {
        let spelled = |exp: &str| {
            let text = with(claims(), json!({"exp": "@"})).to_string().replace("\"@\"", exp);
            judge(&keys().p256.sign_text(Algorithm::Es256, r#"{"alg":"ES256","kid":"p256"}"#, &text))
        };
        for same in ["1800000540", "1800000540.0", "1.80000054e9", "1.80000054E+9", "180000054000e-2"] {
            assert_eq!(
                spelled(same).unwrap().expires_at(),
                Timestamp::from_secs(NOW.as_secs() + 540),
                "{same}"
            );
        }
        for no_number in [
            "NaN",
            "Infinity",
            "-Infinity",
            "1e309",
            "+1800000540",
            "01800000540",
            "0x6b49d41c",
            "1_800_000_540",
            ".5",
            "1800000540.",
        ] {
            assert!(matches!(spelled(no_number), Err(Denial::TokenMalformed(_))), "{no_number}");
        }
    }

    #[test]
    fn the_profile_of_rfc_9068_is_demanded_whole_where_the_operator_asks_for_it() {
        let profile = TokenRules { token_type: Some("at+jwt".to_owned()), ..rules() };
        let without = |name: &str| keys().p256.sign(&with(claims(), json!({ name: null })));
        assert!(judge_by(&profile, &keys().p256.sign(&claims())).is_ok());
        for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
            assert!(judge_by(&profile, &without(name)).is_err(), "{name}");
        }
        for name in ["sub", "client_id", "jti"] {
            assert!(judge(&without(name)).is_ok(), "{name}");
            let refused = judge_by(&profile, &without(name)).unwrap_err();
            assert!(matches!(refused, Denial::TokenMalformed(_)), "{name}: {refused:?}");
        }
        // Its issuer may call them otherwise.
        let renamed = with(claims(), json!({"client_id": null, "cid": "c", "jti": null, "uti": "u"}));
        assert!(judge_by(&profile, &keys().p256.sign(&renamed)).is_ok());
    }

    #[test]
    fn the_type_compares_without_case_and_with_or_without_application() {
        let typed = |rules: &TokenRules, typ: &str| {
            let header = json!({"alg": "ES256", "kid": "p256", "typ": typ});
            judge_by(rules, &keys().p256.sign_as(&header, &claims())).map(drop)
        };
        for good in
            ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt", "JWT", "jwt", "application/jwt"]
        {
            assert_eq!(typed(&rules(), good), Ok(()), "{good}");
        }
        for bad in ["", "at+jwt ", "at", "logout+jwt", "x/at+jwt", "application/application/at+jwt", "JOSE"] {
            assert_eq!(typed(&rules(), bad), Err(Denial::WrongTokenType), "{bad}");
        }
        let only = TokenRules { token_type: Some("application/AT+JWT".to_owned()), ..rules() };
        assert_eq!(typed(&only, "at+jwt"), Ok(()));
        assert_eq!(typed(&only, "JWT"), Err(Denial::WrongTokenType));
        let absent = keys().p256.sign_as(&json!({"alg": "ES256", "kid": "p256"}), &claims());
        assert!(judge(&absent).is_ok());
        assert_eq!(judge_by(&only, &absent).unwrap_err(), Denial::WrongTokenType);
    }

    #[test]
    fn aud_is_a_string_or_a_list_that_names_us() {
        for good in [json!("https://api.example.com"), json!(["x", "https://api.example.com"])] {
            assert!(changed(json!({"aud": good})).is_ok(), "{good}");
        }
        for wrong in [json!(null), json!("https://api.example.com/"), json!([]), json!(["x"]), json!("")] {
            assert_eq!(changed(json!({"aud": wrong})).unwrap_err(), Denial::WrongAudience, "{wrong}");
        }
        for bad in [json!(5), json!({"https://api.example.com": 1}), json!(["https://api.example.com", 5])] {
            assert!(matches!(changed(json!({"aud": bad})), Err(Denial::TokenMalformed(_))), "{bad}");
        }
    }

    #[test]
    fn identifiers_are_strings_and_not_empty() {
        for name in ["sub", "client_id", "sid", "jti"] {
            for bad in [json!(5), json!(["alice"]), json!("")] {
                assert!(
                    matches!(changed(json!({name: bad})), Err(Denial::TokenMalformed(_))),
                    "{name}: {bad}"
                );
            }
            assert!(changed(json!({name: null})).is_ok());
        }
    }

    #[test]
    fn a_token_is_bound_to_the_key_that_it_names_and_refused_where_no_proof_of_it_can_be_checked() {
        const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let bound = changed(json!({"cnf": {"jkt": JKT}})).unwrap();
        assert_eq!(bound.bound_to().map(String::from).as_deref(), Some(JKT));
        assert_eq!(changed(json!({})).unwrap().bound_to(), None);
        for other in
            [json!({"x5t#S256": JKT}), json!({"jkt": JKT, "x5t#S256": JKT}), json!({"jkt": "x"}), json!({})]
        {
            assert_eq!(changed(json!({ "cnf": other })).unwrap_err(), Denial::BindingNotSupported);
        }
    }

    #[test]
    fn an_unknown_kid_is_told_apart_only_when_all_else_is_right() {
        let stranger = testing::new_p256("new");
        assert_eq!(judge(&stranger.sign(&claims())).unwrap_err(), Denial::UnknownKey);
        let expired = with(claims(), json!({"exp": NOW.as_secs() - 100}));
        assert_eq!(judge(&stranger.sign(&expired)).unwrap_err(), Denial::TokenExpired);
    }

    #[test]
    fn the_audience_is_judged_only_once_the_signature_holds() {
        let good = keys().p256.sign(&with(claims(), json!({"aud": "else"})));
        assert_eq!(judge(&good).unwrap_err(), Denial::WrongAudience);
        let (signed, _) = good.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", "A".repeat(86));
        assert_eq!(judge(&forged).unwrap_err(), Denial::BadSignature);
    }

    #[test]
    fn a_sign_in_in_the_future_counts_as_none() {
        let future = json!({"auth_time": NOW.as_secs() + 3600});
        assert_eq!(changed(future).unwrap().signed_in_at(), None);
        assert_eq!(changed(json!({"auth_time": "now"})).unwrap().signed_in_at(), None);
    }

    #[test]
    fn any_change_of_any_byte_of_a_token_is_refused() {
        let token = keys().ed.sign(&claims());
        bolero::check!().with_type::<(u16, u8)>().for_each(|(at, byte)| {
            let mut bytes = token.clone().into_bytes();
            let at = usize::from(*at) % bytes.len();
            if bytes[at] == *byte {
                return;
            }
            bytes[at] = *byte;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(judge(&text).is_err(), "{text}");
            }
        });
    }

    #[test]
    fn no_text_makes_the_judge_panic() {
        bolero::check!().with_type::<(String, String, String)>().for_each(|(header, payload, rest)| {
            let _ = judge(rest);
            let _ = judge(&format!("{}.{rest}", testing::unsigned(header, payload)));
        });
    }
}
