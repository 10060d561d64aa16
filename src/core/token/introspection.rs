//! Opaque tokens (RFC 7662): which texts their issuer is asked about, and whether what it answers makes a
//! token good.
//!
//! What looks like a JWT is never asked about. Its issuer is written in it, so anybody else who is asked gets
//! a token that is not his; and a signature that does not hold, or an algorithm that is not allowed, must not
//! become good because a server reads the same text more leniently. So a text counts as a JWT when some
//! reader might take it for one, not only when `jwt` does. One that is encrypted (JWE, RFC 7516) says nothing
//! to anybody but its issuer, and is opaque.
//!
//! An answer is judged as strictly as a JWT: its `active` is the issuer's word that the token is one of its
//! own and has not ended, and not that it is for this API, nor that it is an access token. Servers answer
//! `active` for refresh tokens too (RFC 7662 section 2.1), so something in the answer must say what it is
//! about. What it must never do: take for inactive, or for good, what is not a readable answer.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::audience::check_audience;
use crate::core::token::binding::bound_to;
use crate::core::token::jwt::check_times;
use crate::core::token::kind::says_another_kind;
use crate::core::token::verified::VerifiedToken;
use crate::core::token::{TokenRules, json};

/// Whether only its issuer can say what this token is: a `b64token` (RFC 6750 section 2.1) in which nobody
/// finds a header of JOSE before its first dot.
pub fn is_opaque(token: &str) -> bool {
    match token.split_once('.') {
        None => true,
        // `{"` in base64, as nearly every header begins: nothing is read of those.
        Some((header, _)) => {
            is_encrypted(token) || !header.starts_with("eyJ") && !may_be_read_as_header(header)
        }
    }
}

/// Whether it is a JWE in the compact form (RFC 7516 section 7.1) that does not say whose it is: five parts,
/// and a header with `enc` and the algorithm of a key (RFC 7518 section 4.1), so that nobody could read a
/// signature in it, and without `iss` (RFC 7519 section 5.3).
fn is_encrypted(token: &str) -> bool {
    let has_five_parts = token.bytes().filter(|byte| *byte == b'.').count() == 4;
    let header = token
        .split('.')
        .next()
        .filter(|_| has_five_parts)
        .and_then(|header| json::object(&URL_SAFE_NO_PAD.decode(header).ok()?).ok());
    header.is_some_and(|header| {
        let is_of_a_key = |alg: &str| {
            alg == "dir"
                || ["RSA", "A128", "A192", "A256", "ECDH-ES", "PBES2-"].iter().any(|of| alg.starts_with(of))
        };
        header.get("alg").and_then(Value::as_str).is_some_and(is_of_a_key)
            && header.get("enc").is_some_and(Value::is_string)
            && !header.contains_key("iss")
    })
}

/// Whether a lenient reader could find a JOSE header in it (RFC 7515 section 4, RFC 7516 section 4): either
/// alphabet of base64, what is in neither passed over, any encoding of JSON (RFC 8725 section 2.6). `alg` is
/// required of both kinds, so that random bytes which begin with a brace are no header.
fn may_be_read_as_header(part: &str) -> bool {
    let digits: String = part
        .chars()
        .filter_map(|c| match c {
            '-' => Some('+'),
            '_' => Some('/'),
            c => (c.is_ascii_alphanumeric() || matches!(c, '+' | '/')).then_some(c),
        })
        .collect();
    // A last digit alone is less than a byte.
    let whole = if digits.len() % 4 == 1 { digits.len() - 1 } else { digits.len() };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let lenient = GeneralPurpose::new(&alphabet::STANDARD, config);
    let Ok(bytes) = lenient.decode(digits.get(..whole).unwrap_or_default()) else { return false };
    // What UTF-16 and UTF-32 have more than UTF-8, for ASCII: zeros and a mark of their order.
    let text: Vec<u8> =
        bytes.into_iter().filter(|byte| !matches!(byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff)).collect();
    let text = text.trim_ascii_start();
    let names_an_algorithm = || text.windows(3).any(|three| three == b"alg");
    let is_an_object = || serde_json::from_slice::<Map<String, Value>>(text).is_ok();
    text.starts_with(b"{") && (names_an_algorithm() || is_an_object())
}

/// What an issuer said of a token. Still not to be believed.
#[derive(Debug)]
pub struct IntrospectionAnswer {
    members: Map<String, Value>,
}

/// What came is no answer to the question: it says nothing about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its answer is not a JSON object, each member once, with `active` true or false")]
pub struct Unreadable;

impl IntrospectionAnswer {
    /// Reads the body of an answer (RFC 7662 section 2.2). A member that is `null` counts as absent. The
    /// caller bounds the size.
    ///
    /// # Errors
    /// [`Unreadable`], also for an `active` that is no boolean.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let mut members = json::object(body).map_err(|_| Unreadable)?;
        if !matches!(members.get("active"), Some(Value::Bool(_))) {
            return Err(Unreadable);
        }
        members.retain(|_, value| !value.is_null());
        Ok(Self { members })
    }

    /// Whether the issuer says that the token is one of its own and has not ended.
    pub fn is_active(&self) -> bool {
        self.members.get("active") == Some(&Value::Bool(true))
    }

    /// Makes the token, whose claims are the members of the answer, `iss` filled in where it is absent.
    ///
    /// # Errors
    /// The first thing that is wrong: `TokenInactive`, `UnknownIssuer`, `BindingNotSupported`,
    /// `WrongTokenType`, what is wrong with its times, `WrongAudience`, `TokenMalformed`.
    pub fn judge(self, rules: &TokenRules, now: Timestamp) -> Result<VerifiedToken, Denial> {
        if !self.is_active() {
            return Err(Denial::TokenInactive { was_good: false });
        }
        let Self { members: mut claims } = self;
        let is_own = |iss: &Value| iss.as_str().is_some_and(|iss| rules.takes_access_tokens_of(iss));
        if !claims.get("iss").is_none_or(is_own) {
            return Err(Denial::UnknownIssuer);
        }
        check_kind(&claims)?;
        let times = check_times(&claims, rules, now)?;
        check_audience(&claims, rules, || true)?; // check_kind saw that it says what it is
        rules.name_issuer(&mut claims);
        VerifiedToken::of_claims(claims, None, times, rules, now)
    }
}

/// Something must say that it is an access token: `token_type` (RFC 7662 section 2.2), which refresh tokens
/// do not have (RFC 6749 section 5.1), or what servers say in its place or beside it. Nothing may say that it
/// is something else. One that is bound to a key is a token of DPoP, and no bearer token (RFC 9449 section
/// 6.2); and the other way round.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Denial> {
    let is_bound = bound_to(claims)?.is_some();
    // Whether it says so; `None` where it says nothing.
    let says = |name: &str, words: &[&str]| {
        claims.get(name).map(|value| {
            value.as_str().is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text)))
        })
    };
    let others: &[&str] = if is_bound { &["PoP", "mac"] } else { &["DPoP", "PoP", "mac"] };
    if says("token_type", others) == Some(true) {
        return Err(Denial::BindingNotSupported);
    }
    let scheme = if is_bound { "DPoP" } else { "Bearer" };
    let signs = [
        says("token_type", &[scheme, "access_token"]), // the latter Duende IdentityServer, Stytch
        says("token_use", &["access_token", "access"]), // Ory Hydra, Amazon Cognito
        says("typ", &[scheme, "at+jwt", "application/at+jwt"]), // Keycloak
    ];
    let is_another = signs.contains(&Some(false)) || says_another_kind(claims);
    let is_an_access_token = signs.contains(&Some(true)) && !is_another;
    if is_an_access_token { Ok(()) } else { Err(Denial::WrongTokenType) }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::core::token::testing::{AUDIENCE, ISS, NOW, claims, keys, rules, unsigned, with};

    /// The answer about a good token, as RFC 7662 section 2.2 has it.
    fn answer() -> Value {
        with(claims(), json!({"active": true, "token_type": "Bearer", "username": "alice@example.com"}))
    }

    fn judge(answer: &Value) -> Result<VerifiedToken, Denial> {
        IntrospectionAnswer::parse(answer.to_string().as_bytes()).unwrap().judge(&rules(), NOW)
    }

    fn changed(changes: Value) -> Denial {
        judge(&with(answer(), changes)).unwrap_err()
    }

    #[test]
    fn tokens_of_every_make_without_a_readable_issuer_are_opaque() {
        for token in [
            "2YotnFZFEjr1zCsicMWpAA",
            "mF_9.B5f-4.1JqM",
            "ory_at_8nFZFEjr1zCsicMW.pAA2Yotn",
            "ya29.a0AfH6SMBx-_~+/",
            "v4.local.AAAAAAAA",
            "a.b.c.d.e",
            "eyJpdiI6Imlucg", // JSON in base64, and nothing behind a dot
            "e2Fi.e2Fi.e2Fi", // `{ab`: a brace alone is no header
            "12345~00u.secret==",
            ".",
            "..",
        ] {
            assert!(is_opaque(token), "{token}");
        }
    }

    fn encrypted(header: &str) -> String {
        format!("{}.key.iv.text.tag", URL_SAFE_NO_PAD.encode(header))
    }

    /// As OpenIddict makes them unless it is told not to.
    #[test]
    fn a_token_that_is_encrypted_to_its_server_is_opaque() {
        for alg in ["dir", "RSA-OAEP", "RSA-OAEP-256", "A256KW", "ECDH-ES+A256KW", "PBES2-HS256+A128KW"] {
            let token =
                encrypted(&json!({ "alg": alg, "enc": "A256CBC-HS512", "typ": "at+jwt" }).to_string());
            assert!(is_opaque(&token), "{token}");
        }
    }

    #[test]
    fn what_anybody_could_take_for_a_jwt_is_never_asked_about() {
        let header = r#"{"alg":"ES256","kid":"k"}"#;
        let signed = keys().p256.sign(&claims());
        let (message, _) = signed.rsplit_once('.').unwrap();
        let (head, payload) = message.split_once('.').unwrap();
        let parts = |header: &str| format!("{header}.e30.AAAA");
        let utf16: Vec<u8> = header.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked: Vec<u8> =
            [0xfe, 0xff].into_iter().chain(header.encode_utf16().flat_map(u16::to_be_bytes)).collect();
        let utf32: Vec<u8> = header.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for token in [
            signed.clone(),
            format!("{message}."),
            message.to_owned(),
            format!("{signed}.more"),
            format!("{signed}~WyJzYWx0Il0~"), // SD-JWT
            format!("{signed}=="),
            format!("{head}~.{payload}.AAAA"),
            format!("{head}A.{payload}.AAAA"), // a digit too many
            parts(&STANDARD.encode(r#"{"alg":"none","x":"????>>>>"}"#).replace('=', "")),
            parts(&URL_SAFE_NO_PAD.encode(r#" {"alg":"none"}"#)),
            parts(&URL_SAFE_NO_PAD.encode(r#"{"\u0061lg":"none"}"#)),
            parts(&URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"ES256"}"#)),
            parts(&URL_SAFE_NO_PAD.encode("{'alg':'none',}")),
            parts(&URL_SAFE_NO_PAD.encode("\u{feff}{\"alg\":\"none\"}")),
            parts(&URL_SAFE_NO_PAD.encode(utf16)),
            parts(&URL_SAFE_NO_PAD.encode(marked)),
            parts(&STANDARD_NO_PAD.encode(utf32)),
            parts("e30"), // `{}`
            encrypted(r#"{"alg":"dir","enc":"A256GCM","iss":"https://other.example"}"#),
            encrypted(r#"{"alg":"ES256","enc":"A256GCM"}"#),
            encrypted(r#"{"alg":"none","enc":"A256GCM"}"#),
            encrypted(r#"{"alg":"dir","alg":"dir","enc":"A256GCM"}"#),
            encrypted(r#"{"alg":"dir"}"#),
            format!("{}.more", encrypted(r#"{"alg":"dir","enc":"A256GCM"}"#)),
            unsigned(header, "{}"),
        ] {
            assert!(!is_opaque(&token), "{token}");
        }
    }

    #[test]
    fn no_text_that_the_jwt_judge_reads_is_opaque() {
        use crate::core::token::jwt::Unverified;
        bolero::check!().with_type::<String>().for_each(|text| {
            if Unverified::parse(text, 8192).is_ok() {
                assert!(!is_opaque(text), "{text}");
            }
            let _ = is_opaque(text);
        });
    }

    #[test]
    fn a_good_answer_makes_a_token_like_any_other() {
        let token =
            judge(&with(answer(), json!({"sid": "s-1", "acr": "mfa", "auth_time": NOW.as_secs() - 5})))
                .unwrap();
        assert_eq!(
            (token.issuer().as_str(), token.subject(), token.client()),
            ("demo", Some("alice"), Some("web-app"))
        );
        assert_eq!((token.session(), token.id(), token.kid()), (Some("s-1"), Some("t-1"), None));
        assert_eq!((token.scope().joined().as_str(), token.acr()), ("api:read", Some("mfa")));
        assert_eq!(token.issued_at(), Timestamp::from_secs(NOW.as_secs() - 60));
        assert_eq!(token.expires_at(), Timestamp::from_secs(NOW.as_secs() + 540));
        assert_eq!(token.claims().get("username"), Some(&json!("alice@example.com")));
    }

    #[test]
    fn an_issuer_that_does_not_name_itself_is_named_and_another_is_refused() {
        for absent in [json!({"iss": null}), json!({})] {
            let mut answer = with(answer(), json!({"iss": null}));
            answer.as_object_mut().unwrap().extend(absent.as_object().unwrap().clone());
            assert_eq!(judge(&answer).unwrap().claims().get("iss"), Some(&json!(ISS)));
        }
        for other in [json!("https://as.example/"), json!("https://evil.example"), json!([ISS]), json!("")] {
            assert_eq!(changed(json!({"iss": other})), Denial::UnknownIssuer);
        }
    }

    #[test]
    fn only_a_boolean_says_whether_a_token_is_active() {
        let parse = |text: &str| IntrospectionAnswer::parse(text.as_bytes()).map(|answer| answer.is_active());
        assert_eq!(parse(r#"{"active":true}"#), Ok(true));
        assert_eq!(parse(r#"{"active":false,"sub":"alice"}"#), Ok(false));
        for bad in [
            "",
            "{}",
            "[]",
            "true",
            "null",
            r#"{"active":null}"#,
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":"false"}"#,
            r#"{"active":[true]}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"Active":true}"#,
            r#"{"active":true} {}"#,
            r#"{"active":true,"sub":"a","sub":"b"}"#,
            r#"{"error":"invalid_client"}"#,
            "<html>",
        ] {
            assert_eq!(parse(bad), Err(Unreadable), "{bad}");
        }
        assert_eq!(changed(json!({"active": false})), Denial::TokenInactive { was_good: false });
    }

    #[test]
    fn a_token_for_another_api_or_for_none_is_refused() {
        assert!(judge(&with(answer(), json!({"aud": ["x", AUDIENCE]}))).is_ok());
        for other in [json!("https://other.example"), json!([]), json!(null), json!("")] {
            assert_eq!(changed(json!({"aud": other})), Denial::WrongAudience);
        }
        for bad in [json!(7), json!([AUDIENCE, 7]), json!({"x": AUDIENCE})] {
            assert!(matches!(changed(json!({"aud": bad})), Denial::TokenMalformed(_)));
        }
    }

    #[test]
    fn a_token_whose_times_are_wrong_or_missing_is_refused() {
        let now = NOW.as_secs();
        for (changes, why) in [
            (json!({"exp": now - 30}), Denial::TokenExpired),
            (json!({"exp": now + 86_400}), Denial::TokenLivesTooLong),
            (json!({"nbf": now + 31}), Denial::TokenNotYetValid),
            (json!({"iat": now + 31}), Denial::TokenNotYetValid),
        ] {
            assert_eq!(changed(changes.clone()), why, "{changes}");
        }
        assert!(judge(&with(answer(), json!({"exp": now - 29, "nbf": now + 30}))).is_ok());
        for name in ["exp", "iat"] {
            assert!(matches!(changed(json!({ name: null })), Denial::TokenMalformed(_)), "{name}");
        }
        for name in ["exp", "iat", "nbf"] {
            assert!(matches!(changed(json!({ name: "soon" })), Denial::TokenMalformed(_)), "{name}");
        }
    }

    #[test]
    fn a_token_that_needs_a_proof_is_bound_to_a_key_and_no_bearer_token() {
        const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        for bound in [
            json!({"cnf": {"jkt": "x"}}),
            json!({"cnf": {}}),
            json!({"token_type": "DPoP"}),
            json!({"token_type": "dpop"}),
            json!({"token_type": "DPoP", "cnf": {"jkt": "x"}}),
            json!({"token_type": "DPoP", "cnf": {"x5t#S256": JKT}}),
            json!({"token_type": "PoP", "cnf": {"jkt": JKT}}),
        ] {
            assert_eq!(changed(bound.clone()), Denial::BindingNotSupported, "{bound}");
        }
        let to_key = |more: Value| with(with(answer(), json!({"cnf": {"jkt": JKT}})), more);
        for good in [
            json!({"token_type": "DPoP"}),
            json!({"token_type": "dpop", "typ": "DPoP"}), // Keycloak
            json!({"token_type": "access_token"}),
            json!({"token_type": null, "token_use": "access_token"}),
        ] {
            let token = judge(&to_key(good.clone())).unwrap();
            assert_eq!(token.bound_to().map(String::from).as_deref(), Some(JKT), "{good}");
        }
        for contradiction in [json!({"token_type": "Bearer"}), json!({"token_type": "DPoP", "typ": "Bearer"})]
        {
            assert_eq!(judge(&to_key(contradiction.clone())).unwrap_err(), Denial::WrongTokenType);
        }
        assert_eq!(judge(&answer()).unwrap().bound_to(), None);
    }

    #[test]
    fn refresh_tokens_and_what_does_not_say_that_it_is_an_access_token_are_refused() {
        for other in [
            json!({"token_type": null}), // oidc-provider, Spring: an active refresh token
            json!({"token_type": "refresh_token"}),
            json!({"token_type": "N_A"}),
            json!({"token_type": ["Bearer"]}),
            json!({"token_type": "Bearer", "typ": "Refresh"}), // Keycloak
            json!({"token_type": null, "typ": "ID"}),
            json!({"token_type": null, "token_use": "refresh_token"}), // Ory Hydra
            json!({"token_use": "id"}),
            json!({"type": "refresh"}),
            json!({"tokenName": "refresh_token"}), // ForgeRock AM
            json!({"purpose": "refresh_token"}),   // Curity
        ] {
            assert_eq!(changed(other.clone()), Denial::WrongTokenType, "{other}");
        }
        for access in [
            json!({"token_type": "bearer"}),
            json!({"token_type": null, "typ": "Bearer"}),
            json!({"token_type": "Bearer", "token_use": "access_token"}),
            json!({"token_type": "access_token"}), // Duende IdentityServer, Stytch
            json!({"token_type": "Bearer", "purpose": "access_token"}),
        ] {
            assert!(judge(&with(answer(), access.clone())).is_ok(), "{access}");
        }
    }

    #[test]
    fn a_scope_of_very_many_values_costs_little_more_than_reading_it() {
        // As many as the largest answer holds: comparing each with each would take seconds.
        let values: Vec<String> = (0..16_000).map(|number| format!("{number:x}")).collect();
        let began = std::time::Instant::now();
        for scope in [json!(values.join(" ")), json!(values)].iter().cycle().take(6) {
            let token = judge(&with(answer(), json!({ "scope": scope }))).unwrap();
            assert!(token.scope().iter().eq(&values));
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn names_that_would_escape_comparison_are_refused() {
        for bad in [
            json!({"sub": 7}),
            json!({"sub": ""}),
            json!({"client_id": ["a"]}),
            json!({"jti": 1}),
            json!({"sid": {}}),
        ] {
            assert!(matches!(changed(bad.clone()), Denial::TokenMalformed(_)), "{bad}");
        }
        assert_eq!(judge(&with(answer(), json!({"sub": null}))).unwrap().subject(), None);
        let named = TokenRules {
            claims: crate::core::token::ClaimNames { scope: vec!["scp".into()], ..Default::default() },
            ..rules()
        };
        let body = with(answer(), json!({"scp": ["a", "b"]})).to_string();
        let token = IntrospectionAnswer::parse(body.as_bytes()).unwrap().judge(&named, NOW).unwrap();
        assert_eq!(token.scope().joined(), "a b", "by the issuer's claim names");
    }
}
