use serde_json::json;

use super::*;
use crate::core::token::logout_token::VerifiedLogoutToken;
use crate::core::token::testing::{
    AUDIENCE, ISS, LONG_SECRET, NOW, OF_A_SECRET, SECRET, TestKey, jwks, keys, new_p256, rules, sign_hmac,
    sign_hs256, with,
};
use crate::core::token::{ClaimNames, jwt};

const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";

fn all_keys() -> KeySet {
    let keys = keys();
    KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk(), keys.p384.jwk(), keys.ed.jwk()])).unwrap().0
}

const EXPECTED: Expected<'_> =
    Expected { client_id: "web-app", nonce: Some("n-1"), access_token: Some(ACCESS_TOKEN) };

fn good() -> Value {
    json!({
        "iss": ISS, "sub": "alice", "aud": "web-app", "nonce": "n-1", "sid": "s-1", "acr": "mfa",
        "iat": NOW.as_secs() - 60, "exp": NOW.as_secs() + 540, "auth_time": NOW.as_secs() - 61,
    })
}

fn signed(claims: &Value) -> String {
    keys().p256.sign_as(&json!({"alg": "ES256", "kid": "p256"}), claims)
}

fn judge_as(text: &str, expected: Expected<'_>) -> Result<VerifiedIdToken, Wrong> {
    VerifiedIdToken::verify(text, 8192, &all_keys(), &rules(), expected, NOW)
}

fn judge(text: &str) -> Result<VerifiedIdToken, Wrong> {
    judge_as(text, EXPECTED)
}

/// A good ID token with these claims changed.
fn changed(changes: Value) -> Result<VerifiedIdToken, Wrong> {
    judge(&signed(&with(good(), changes)))
}

#[track_caller]
fn refused(judged: Result<VerifiedIdToken, Wrong>, why: &str) {
    let wrong = judged.expect_err(why);
    assert!(wrong.why().contains(why), "{wrong:?} and not {why:?}");
}

#[test]
fn a_good_id_token_says_who_signed_in() {
    let token = changed(json!({"more": [1]})).unwrap();
    assert_eq!((token.issuer().as_str(), token.subject(), token.session()), ("demo", "alice", Some("s-1")));
    assert_eq!(token.signed_in_at(), Some(Timestamp::from_secs(NOW.as_secs() - 61)));
    assert_eq!((token.acr(), token.expires_at()), (Some("mfa"), Timestamp::from_secs(NOW.as_secs() + 540)));
    assert_eq!(token.claims()["more"], json!([1]));
}

#[test]
fn what_may_be_left_out_or_said_in_another_way_spoils_nothing() {
    for (header, changes) in [
        (json!({"alg": "ES256", "kid": "p256", "typ": "JWT"}), json!({})),
        (json!({"alg": "ES256", "kid": "p256", "typ": "application/jwt"}), json!({})),
        (json!({"alg": "ES256"}), json!({"sid": null, "acr": null, "auth_time": null})),
        (json!({"alg": "RS256", "kid": "rsa"}), json!({"aud": ["web-app"], "azp": "web-app"})),
        (json!({"alg": "PS384", "kid": "rsa"}), json!({"aud": ["elsewhere", "web-app"], "azp": "web-app"})),
        (json!({"alg": "ES384", "kid": "p384"}), json!({"nbf": NOW.as_secs() + 30})),
        (json!({"alg": "EdDSA", "kid": "ed"}), json!({"exp": NOW.as_secs() - 29})),
        (json!({"alg": "ES256", "kid": "p256"}), json!({"iat": NOW.as_secs() + 30, "cnf": {"jkt": "x"}})),
        // It may live for longer than access tokens may.
        (json!({"alg": "ES256", "kid": "p256"}), json!({"exp": NOW.as_secs() + 30 * 24 * 3600})),
    ] {
        let key = match header["kid"].as_str() {
            Some("rsa") => &keys().rsa,
            Some("p384") => &keys().p384,
            Some("ed") => &keys().ed,
            _ => &keys().p256,
        };
        let token = key.sign_as(&header, &with(good(), changes.clone()));
        let only = KeySet::parse(&jwks(&[key.jwk()])).unwrap().0;
        let judged = VerifiedIdToken::verify(&token, 8192, &only, &rules(), EXPECTED, NOW);
        assert!(judged.is_ok(), "{header} {changes}: {judged:?}");
    }
}

#[test]
fn each_claim_that_does_not_fit_is_refused_for_what_it_is() {
    let now = NOW.as_secs();
    for (changes, why) in [
        (json!({"iss": "https://as.example/"}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"aud": "other-app"}), "aud does not name the client"),
        (json!({"aud": null}), "no aud"),
        (json!({"aud": []}), "aud does not name the client"),
        (json!({"aud": ["web-app", 5]}), "aud must be"),
        (json!({"aud": ["web-app", "elsewhere"]}), "has no azp"),
        (json!({"aud": ["web-app", "elsewhere"], "azp": "elsewhere"}), "azp names another client"),
        (json!({"azp": "other-app"}), "azp names another client"),
        (json!({"azp": ["web-app"]}), "azp names another client"),
        (json!({"exp": null}), "no exp"),
        (json!({"exp": now - 30}), "expired"),
        (json!({"exp": "soon"}), "must be seconds"),
        (json!({"iat": null}), "no iat"),
        (json!({"iat": now + 31}), "not valid yet"),
        (json!({"nbf": now + 31}), "not valid yet"),
        (json!({"nbf": "later"}), "must be seconds"),
        (json!({"nonce": "n-2"}), "nonce"),
        (json!({"nonce": null}), "nonce"),
        (json!({"nonce": ["n-1"]}), "nonce"),
        (json!({"sub": null}), "no sub"),
        (json!({"sub": ""}), "must be strings"),
        (json!({"sub": 7}), "must be strings"),
        (json!({"sid": 7}), "must be strings"),
        (json!({"events": {}}), "events"),
        (json!({"at_hash": "x"}), "at_hash"),
        (json!({"at_hash": ["x"]}), "at_hash"),
    ] {
        let judged = changed(changes.clone());
        assert!(judged.is_err(), "{changes}");
        refused(judged, why);
    }
}

#[test]
fn each_header_that_does_not_fit_is_refused_for_what_it_is() {
    for (header, why) in [
        (json!({"typ": "at+jwt"}), "another kind"),
        (json!({"typ": "application/at+jwt"}), "another kind"),
        (json!({"typ": "logout+jwt"}), "another kind"),
        (json!({"typ": "secevent+jwt"}), "another kind"),
        (json!({"typ": "tollgate+jwt"}), "another kind"),
        (json!({"typ": ""}), "another kind"),
        (json!({"typ": 1}), "must be strings"),
        (json!({"kid": "unknown"}), "does not publish"),
        (json!({"kid": "rsa"}), "algorithm"),
        (json!({"crit": ["exp"]}), "not supported"),
        (json!({"cty": "JWT"}), "not supported"),
    ] {
        let header = with(json!({"alg": "ES256", "kid": "p256"}), header);
        refused(judge(&keys().p256.sign_as(&header, &good())), why);
    }
    let unsigned =
        format!("{}.", crate::core::token::testing::unsigned(r#"{"alg":"none"}"#, &good().to_string()));
    refused(judge(&unsigned), "algorithm");
    let forged = new_p256("p256").sign_as(&json!({"alg": "ES256", "kid": "p256"}), &good());
    refused(judge(&forged), "signature is not valid");
    refused(judge("a.b"), "three base64url parts");
    let small = VerifiedIdToken::verify(&signed(&good()), 20, &all_keys(), &rules(), EXPECTED, NOW);
    refused(small, "exceeds limits.token");
    let strict = TokenRules { algorithms: vec![Algorithm::Rs256], ..rules() };
    let judged = VerifiedIdToken::verify(&signed(&good()), 8192, &all_keys(), &strict, EXPECTED, NOW);
    refused(judged, "algorithm is not accepted");
}

#[test]
fn a_shared_secret_signs_it_where_the_issuer_has_one_and_only_there() {
    let token = sign_hs256(SECRET, &json!({"alg": "HS256"}), &good());
    let rules = TokenRules { algorithms: vec![Algorithm::Hs256], ..rules() };
    let set = KeySet::shared_secret(SECRET, &[Algorithm::Hs256]).unwrap();
    assert!(VerifiedIdToken::verify(&token, 8192, &set, &rules, EXPECTED, NOW).is_ok());
    refused(judge(&token), "algorithm is not accepted");
    let other = KeySet::shared_secret(&[9; 32], &[Algorithm::Hs256]).unwrap();
    refused(VerifiedIdToken::verify(&token, 8192, &other, &rules, EXPECTED, NOW), "signature is not valid");
}

#[test]
fn other_clients_of_the_issuer_here_may_be_audiences_too() {
    let rules = TokenRules { client_ids: vec!["web-app".into(), "shop".into()], ..rules() };
    let token = signed(&with(good(), json!({"aud": ["shop", "web-app"]})));
    let judge = |client_id| {
        let expected = Expected { client_id, ..EXPECTED };
        VerifiedIdToken::verify(&token, 8192, &all_keys(), &rules, expected, NOW)
    };
    assert!(judge("web-app").is_ok() && judge("shop").is_ok());
    refused(judge("other-app"), "aud does not name the client");
}

#[test]
fn without_a_request_to_answer_the_nonce_is_not_looked_at() {
    for changes in [json!({}), json!({"nonce": null}), json!({"nonce": "of the sign-in"})] {
        let token = signed(&with(good(), changes));
        assert!(judge_as(&token, Expected { nonce: None, ..EXPECTED }).is_ok());
    }
    let token = signed(&with(good(), json!({"nonce": ""})));
    refused(judge_as(&token, Expected { nonce: Some("n-1"), ..EXPECTED }), "nonce");
}

#[test]
fn at_hash_fits_the_access_token_by_the_hash_of_each_algorithm() {
    let fits = |key: &TestKey, algorithm: &str, at_hash: &str, access_token| {
        let claims = with(good(), json!({"at_hash": at_hash}));
        let token = key.sign_as(&json!({"alg": algorithm, "kid": key.kid}), &claims);
        judge_as(&token, Expected { access_token, ..EXPECTED }).map(drop)
    };
    // The example of OpenID Connect Core appendix A.3.
    let of_the_standard = "77QmUPtjPfzWtF2AnpK9RQ";
    for (key, algorithm) in [(&keys().rsa, "RS256"), (&keys().rsa, "PS256"), (&keys().p256, "ES256")] {
        assert_eq!(fits(key, algorithm, of_the_standard, Some(ACCESS_TOKEN)), Ok(()), "{algorithm}");
        assert!(fits(key, algorithm, of_the_standard, Some("another")).is_err(), "{algorithm}");
    }
    for (key, algorithm, hash) in [
        (&keys().p384, "ES384", &SHA384),
        (&keys().rsa, "RS512", &SHA512),
        (&keys().ed, "EdDSA", &SHA512),
        (&keys().ed, "Ed25519", &SHA512),
    ] {
        let digest = digest::digest(hash, ACCESS_TOKEN.as_bytes());
        let half = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..hash.output_len() / 2]);
        assert_eq!(fits(key, algorithm, &half, Some(ACCESS_TOKEN)), Ok(()), "{algorithm}");
        assert!(fits(key, algorithm, of_the_standard, Some(ACCESS_TOKEN)).is_err(), "{algorithm}");
    }
    assert_eq!(fits(&keys().p256, "ES256", "not looked at", None), Ok(()));
    for (algorithm, hash) in OF_A_SECRET.into_iter().zip([&SHA256, &SHA384, &SHA512]) {
        let digest = digest::digest(hash, ACCESS_TOKEN.as_bytes());
        let half = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..hash.output_len() / 2]);
        let set = KeySet::shared_secret(LONG_SECRET, &[algorithm]).unwrap();
        let rules = TokenRules { algorithms: vec![algorithm], ..rules() };
        let expected = Expected { access_token: Some(ACCESS_TOKEN), ..EXPECTED };
        let judged = |at_hash: &str| {
            let claims = with(good(), json!({"at_hash": at_hash}));
            let token = sign_hmac(algorithm, LONG_SECRET, &json!({"alg": algorithm.name()}), &claims);
            VerifiedIdToken::verify(&token, 8192, &set, &rules, expected, NOW).map(drop)
        };
        assert_eq!(judged(&half), Ok(()), "{}", algorithm.name());
        assert!(judged(&half[1..]).is_err(), "{}", algorithm.name());
    }
}

#[test]
fn a_sign_in_at_no_readable_time_is_none() {
    for auth_time in [json!("now"), json!(NOW.as_secs() + 31), json!(-1)] {
        assert_eq!(changed(json!({ "auth_time": auth_time })).unwrap().signed_in_at(), None);
    }
    assert!(changed(json!({"auth_time": NOW.as_secs() + 30})).unwrap().signed_in_at().is_some());
}

/// Which kinds a token passes as, for an issuer that puts API and client on one list.
fn kinds(token: &str, rules: &TokenRules, nonce: Option<&str>) -> Vec<&'static str> {
    let keys = all_keys();
    let expected = Expected { client_id: "web-app", nonce, access_token: None };
    let passes = [
        ("access", jwt::Unverified::parse(token, 8192).is_ok_and(|t| t.verify(&keys, rules, NOW).is_ok())),
        ("id", VerifiedIdToken::verify(token, 8192, &keys, rules, expected, NOW).is_ok()),
        ("logout", VerifiedLogoutToken::verify(token, 8192, &keys, rules, NOW).is_ok()),
    ];
    passes.into_iter().filter_map(|(kind, passes)| passes.then_some(kind)).collect()
}

#[test]
fn an_id_token_that_could_be_an_access_token_is_refused() {
    let both = json!({"aud": ["web-app", AUDIENCE], "azp": "web-app", "nonce": null});
    refused(
        judge_as(&signed(&with(good(), both.clone())), Expected { nonce: None, ..EXPECTED }),
        "access token",
    );
    assert_eq!(kinds(&signed(&with(good(), both.clone())), &rules(), None), ["access"]);
    let marked = with(with(good(), both), json!({"nonce": "n-1"}));
    assert_eq!(kinds(&signed(&marked), &rules(), Some("n-1")), ["id"]);
    let bearer = with(marked, json!({"typ": "Bearer"}));
    assert_eq!(kinds(&signed(&bearer), &rules(), Some("n-1")), ["access"]);
}

#[test]
fn whatever_a_token_says_it_is_never_of_two_kinds() {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let (mut seen, mut twice) = (std::collections::BTreeSet::new(), Vec::new());
    let types = [None, Some("JWT"), Some("at+jwt"), Some("logout+jwt"), Some("id+jwt")];
    let audiences =
        [json!("web-app"), json!(AUDIENCE), json!(["web-app", AUDIENCE]), json!(["web-app", "elsewhere"])];
    let marks = [
        json!({}),
        json!({"nonce": "n-1"}),
        json!({"at_hash": "h"}),
        json!({"nonce": "n-1", "typ": "Bearer"}), // Keycloak
        json!({"nonce": "n-1", "typ": "ID"}),
        json!({"nonce": "n-1", "tokenName": "access_token"}), // PingAM
        json!({"nonce": "n-1", "uid": "u"}),                  // Authentik
    ];
    let events = [json!(null), json!({ EVENT: {} }), json!({"other": {}})];
    let claims = ClaimNames { access_token: vec!["uid".into()], ..ClaimNames::default() };
    let own = TokenRules { audiences: vec!["web-app".into(), AUDIENCE.into()], claims, ..rules() };
    for (typ, aud) in types.iter().flat_map(|typ| audiences.iter().map(move |aud| (typ, aud))) {
        for (mark, event) in marks.iter().flat_map(|mark| events.iter().map(move |event| (mark, event))) {
            for azp in [json!(null), json!("web-app"), json!("other-app")] {
                let claims = json!({"aud": aud, "azp": azp, "nonce": null, "events": event, "jti": "j"});
                let claims = with(with(good(), claims), mark.clone());
                let header = match typ {
                    Some(typ) => json!({"alg": "ES256", "kid": "p256", "typ": typ}),
                    None => json!({"alg": "ES256", "kid": "p256"}),
                };
                let token = keys().p256.sign_as(&header, &claims);
                for rules in [&rules(), &own] {
                    let kinds = kinds(&token, rules, None);
                    if kinds.len() > 1 {
                        twice.push(format!("{kinds:?}: {header} {claims}"));
                    }
                    seen.extend(kinds);
                }
            }
        }
    }
    assert!(twice.is_empty(), "{twice:#?}");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["access", "id", "logout"]);
}
