use serde_json::json;

use super::*;
use crate::core::token::Algorithm;
use crate::core::token::testing::{
    AUDIENCE, ISS, NOW, SECRET, jwks, keys, new_p256, rules, sign_hs256, unsigned, with,
};

fn all_keys() -> KeySet {
    let keys = keys();
    KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk(), keys.ed.jwk()])).unwrap().0
}

fn good() -> Value {
    json!({
        "iss": ISS, "aud": "web-app", "iat": NOW.as_secs() - 1, "exp": NOW.as_secs() + 119, "jti": "l-1",
        "events": { EVENT: {} }, "sub": "alice", "sid": "s-1",
    })
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "p256", "typ": "logout+jwt"})
}

fn judge(text: &str) -> Result<VerifiedLogoutToken, Wrong> {
    VerifiedLogoutToken::verify(text, 8192, &all_keys(), &rules(), NOW)
}

fn changed(changes: Value) -> Result<VerifiedLogoutToken, Wrong> {
    judge(&keys().p256.sign_as(&header(), &with(good(), changes)))
}

#[track_caller]
fn refused(judged: Result<VerifiedLogoutToken, Wrong>, why: &str) {
    let wrong = judged.expect_err(why);
    assert!(wrong.why().contains(why), "{wrong:?} and not {why:?}");
}

#[test]
fn a_good_logout_token_says_what_is_over() {
    let token = changed(json!({})).unwrap();
    assert_eq!((token.issuer().as_str(), token.clients()), ("demo", &["web-app".to_owned()][..]));
    assert_eq!(*token.over(), Over::Session("s-1".into()), "beside sub, the one session");
    assert_eq!((token.subject(), token.id()), (Some("alice"), "l-1"));
    assert_eq!(token.issued_at(), Timestamp::from_secs(NOW.as_secs() - 1));
    assert_eq!(token.expires_at(), Timestamp::from_secs(NOW.as_secs() + 119));
    assert_eq!(*changed(json!({"sub": null})).unwrap().over(), Over::Session("s-1".into()));
    assert_eq!(*changed(json!({"sid": null})).unwrap().over(), Over::EverySessionOf("alice".into()));
}

/// Keycloak before 23.0.4, Authentik before 2025.8.2, Ory Hydra 2.2, Glewlwyd 2.7 and LemonLDAP::NG write
/// none.
#[test]
fn one_that_does_not_say_when_it_ends_is_good_for_the_two_minutes_that_the_standard_recommends() {
    let now = NOW.as_secs();
    for issued_at in [now - 149, now, now + 30] {
        let token = changed(json!({"exp": null, "iat": issued_at})).unwrap();
        assert_eq!(token.expires_at(), Timestamp::from_secs(issued_at + 120));
    }
    // Nor is one refused for a life that it does not ask for.
    let strict = TokenRules { max_token_lifetime: Duration::from_secs(60), ..rules() };
    let token = keys().p256.sign_as(&header(), &with(good(), json!({"exp": null, "iat": now})));
    let judged = VerifiedLogoutToken::verify(&token, 8192, &all_keys(), &strict, NOW).unwrap();
    assert_eq!(judged.expires_at(), Timestamp::from_secs(now + 60));
}

/// What an operator took back of an issuer's keys is told by the key, not by what a token says of it.
#[test]
fn a_word_that_names_no_key_is_known_by_the_one_that_signed_it() {
    assert_eq!(changed(json!({})).unwrap().kid(), Some("p256"));
    let nameless = keys().p256.sign_as(&with(header(), json!({ "kid": null })), &good());
    assert_eq!(judge(&nameless).unwrap().kid(), Some("p256"));
}

#[test]
fn what_may_be_said_in_another_way_spoils_nothing() {
    for changes in [
        json!({"events": { EVENT: {"more": 1}, "https://else.example/event": {} }}),
        json!({"aud": ["web-app"]}),
        json!({"exp": NOW.as_secs() - 29}),
        json!({"iat": NOW.as_secs() + 30}),
        json!({"nbf": NOW.as_secs()}),
        json!({"trace_id": "x"}),
    ] {
        let judged = changed(changes.clone());
        assert!(judged.is_ok(), "{changes}: {judged:?}");
    }
    for typ in [json!(null), json!("JWT"), json!("application/logout+jwt"), json!("LOGOUT+JWT")] {
        let token = keys().p256.sign_as(&with(header(), json!({ "typ": typ })), &good());
        assert!(judge(&token).is_ok(), "{typ}");
    }
    let token = sign_hs256(SECRET, &json!({"alg": "HS256", "typ": "logout+jwt"}), &good());
    let rules = TokenRules { algorithms: vec![Algorithm::Hs256], ..rules() };
    let set = KeySet::shared_secret(SECRET, &[Algorithm::Hs256]).unwrap();
    assert!(VerifiedLogoutToken::verify(&token, 8192, &set, &rules, NOW).is_ok());
}

#[test]
fn each_claim_that_does_not_fit_is_refused_for_what_it_is() {
    let now = NOW.as_secs();
    for (changes, why) in [
        (json!({"iss": "https://else.example"}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"aud": "other-app"}), "names no client"),
        (json!({"aud": AUDIENCE}), "names no client"),
        (json!({"aud": null}), "no aud"),
        (json!({"aud": []}), "names no client"),
        (json!({"aud": {"web-app": 1}}), "aud must be"),
        (json!({"aud": ["web-app", "elsewhere"]}), "names others"),
        (json!({"aud": ["web-app", AUDIENCE]}), "names others"),
        (json!({"iat": null}), "no iat"),
        (json!({"iat": now + 31}), "not valid yet"),
        (json!({"iat": "now"}), "must be seconds"),
        (json!({"nbf": now + 31}), "not valid yet"),
        (json!({"exp": null, "iat": now - 150}), "expired"),
        (json!({"exp": null, "iat": null}), "no iat"),
        (json!({"exp": null, "iat": now - 24 * 3600}), "expired"),
        (json!({"exp": now - 30}), "expired"),
        (json!({"exp": [now]}), "must be seconds"),
        (json!({"exp": now + 24 * 3600}), "lives longer"),
        (json!({"jti": null}), "no jti"),
        (json!({"jti": ""}), "must be strings"),
        (json!({"jti": 1}), "must be strings"),
        (json!({"sub": null, "sid": null}), "neither sub nor sid"),
        (json!({"sub": 1}), "must be strings"),
        (json!({"sid": ["s-1"]}), "must be strings"),
        (json!({"sid": ""}), "must be strings"),
        (json!({"nonce": "n"}), "nonce"),
        (json!({"events": null}), "events"),
        (json!({"events": {}}), "events"),
        (json!({"events": [EVENT]}), "events"),
        (json!({"events": EVENT}), "events"),
        (json!({"events": { EVENT: null }}), "events"),
        (json!({"events": { EVENT: true }}), "events"),
        (json!({"events": { EVENT: [] }}), "events"),
        (json!({"events": { EVENT.to_uppercase(): {} }}), "events"),
    ] {
        let judged = changed(changes.clone());
        assert!(judged.is_err(), "{changes}");
        refused(judged, why);
    }
    let null = with(good(), json!({})).to_string().replace(r#""jti":"#, r#""nonce":null,"jti":"#);
    refused(judge(&keys().p256.sign_text(Algorithm::Es256, &header().to_string(), &null)), "nonce");
}

#[test]
fn each_header_that_does_not_fit_is_refused_for_what_it_is() {
    for (changes, why) in [
        (json!({"typ": "at+jwt"}), "another kind"),
        (json!({"typ": "secevent+jwt"}), "another kind"),
        (json!({"typ": "tollgate+jwt"}), "another kind"),
        (json!({"typ": ["logout+jwt"]}), "must be strings"),
        (json!({"kid": "unknown"}), "does not publish"),
        (json!({"kid": "rsa"}), "algorithm"),
        (json!({"crit": []}), "not supported"),
        (json!({"zip": "DEF"}), "not supported"),
    ] {
        refused(judge(&keys().p256.sign_as(&with(header(), changes), &good())), why);
    }
    let none = format!("{}.", unsigned(r#"{"alg":"none","typ":"logout+jwt"}"#, &good().to_string()));
    refused(judge(&none), "algorithm");
    refused(judge(&new_p256("p256").sign_as(&header(), &good())), "signature is not valid");
    let secret = sign_hs256(SECRET, &json!({"alg": "HS256", "typ": "logout+jwt"}), &good());
    refused(judge(&secret), "algorithm is not accepted");
    let token = keys().p256.sign_as(&header(), &good());
    refused(VerifiedLogoutToken::verify(&token, 20, &all_keys(), &rules(), NOW), "exceeds limits.token");
    refused(judge("e30.e30"), "three base64url parts");
}

#[test]
fn whose_clients_there_are_is_told_to_nobody_whose_signature_does_not_hold() {
    let forged = |aud: &str| new_p256("p256").sign_as(&header(), &with(good(), json!({ "aud": aud })));
    assert_eq!(judge(&forged("web-app")).unwrap_err(), judge(&forged("other-app")).unwrap_err());
}
