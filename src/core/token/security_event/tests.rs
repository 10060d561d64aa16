use serde_json::json;

use super::event::{Follows, StreamStatus};
use super::subject::Named;
use super::*;
use crate::core::token::testing::{ISS, NOW, SECRET, jwks, keys, new_p256, sign_hs256, unsigned, with};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";
const TRANSMITTER: &str = "https://transmitter.example";
const RECEIVER: &str = "https://gate.example/oauth/events";
const EARLIER: i64 = NOW.as_secs() - 60;

fn signals() -> SignalRules {
    SignalRules {
        iss: TRANSMITTER.to_owned(),
        audiences: vec![RECEIVER.to_owned()],
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256],
        clock_skew: Duration::from_secs(30),
        revokes: vec![ISS.to_owned()],
        also_called: Vec::new(),
        events: EventType::USED.to_vec(),
    }
}

fn all_keys() -> KeySet {
    KeySet::parse(&jwks(&[keys().rsa.jwk(), keys().p256.jwk(), keys().ed.jwk()])).unwrap().0
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "p256", "typ": "secevent+jwt"})
}

fn alice() -> Value {
    json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" })
}

fn of_issuer(value: &str) -> Named {
    Named { iss: ISS.to_owned(), value: value.to_owned() }
}

/// A good SET about alice, of this event.
fn set(uri: &str, payload: Value) -> Value {
    json!({
        "iss": TRANSMITTER, "aud": RECEIVER, "iat": EARLIER, "jti": "e-1", "sub_id": alice(), "events": { uri: payload },
    })
}

fn revoked() -> Value {
    set(&format!("{CAEP}session-revoked"), json!({}))
}

fn judge_by(rules: &SignalRules, text: &str) -> Result<VerifiedSecurityEvent, RefusedEvent> {
    VerifiedSecurityEvent::verify(text, 8192, &all_keys(), rules, NOW)
}

fn signed(claims: &Value) -> String {
    keys().p256.sign_as(&header(), claims)
}

fn judge(claims: &Value) -> Result<VerifiedSecurityEvent, RefusedEvent> {
    judge_by(&signals(), &signed(claims))
}

#[track_caller]
fn only(judged: Result<VerifiedSecurityEvent, RefusedEvent>) -> Event {
    match judged.expect("a good SET").events() {
        [event] => event.clone(),
        several => panic!("one event: {several:?}"),
    }
}

#[track_caller]
fn refused(judged: Result<VerifiedSecurityEvent, RefusedEvent>, code: Code, why: &str) {
    let refused = judged.expect_err(why);
    assert!(refused.code == code && refused.why.contains(why), "{refused:?}, and not {code:?} {why:?}");
}

fn over(sessions: &[&str], everything_of: &[&str]) -> Follows {
    let named = |values: &[&str]| values.iter().map(|value| of_issuer(value)).collect();
    Follows::Over { sessions: named(sessions), everything_of: named(everything_of) }
}

#[test]
fn each_event_says_what_follows_from_it() {
    let everything = || over(&[], &["alice"]);
    for (uri, payload, kind, follows) in [
        (format!("{CAEP}session-revoked"), json!({}), EventType::SessionRevoked, everything()),
        (
            format!("{CAEP}credential-change"),
            json!({ "credential_type": "password", "change_type": "update" }),
            EventType::CredentialChange,
            everything(),
        ),
        (
            format!("{CAEP}credential-change"),
            json!({ "change_type": "revoke" }),
            EventType::CredentialChange,
            everything(),
        ),
        (
            format!("{CAEP}credential-change"),
            json!({ "change_type": "delete" }),
            EventType::CredentialChange,
            everything(),
        ),
        (
            format!("{CAEP}credential-change"),
            json!({ "change_type": "create" }),
            EventType::CredentialChange,
            Follows::Nothing,
        ),
        (format!("{RISC}sessions-revoked"), json!({}), EventType::SessionsRevoked, everything()),
        (
            format!("{RISC}account-disabled"),
            json!({ "reason": "hijacking" }),
            EventType::AccountDisabled,
            Follows::Disabled(of_issuer("alice")),
        ),
        (
            format!("{RISC}account-enabled"),
            json!({}),
            EventType::AccountEnabled,
            Follows::Enabled(of_issuer("alice")),
        ),
        (
            format!("{RISC}account-purged"),
            json!({}),
            EventType::AccountPurged,
            Follows::Purged(of_issuer("alice")),
        ),
        (format!("{SSF}verification"), json!({ "state": "x" }), EventType::Verification, Follows::Nothing),
        (format!("{RISC}verification"), json!({ "state": "x" }), EventType::Verification, Follows::Nothing),
        (
            format!("{SSF}stream-updated"),
            json!({ "status": "paused" }),
            EventType::StreamUpdated,
            Follows::Stream(Some(StreamStatus::Paused)),
        ),
        (format!("{SSF}stream-updated"), json!({}), EventType::StreamUpdated, Follows::Stream(None)),
        (format!("{RISC}identifier-changed"), json!({}), EventType::Other, Follows::Nothing),
        (format!("{RISC}session-revoked"), json!({}), EventType::Other, Follows::Nothing),
        (format!("{CAEP}session-revoked/"), json!({}), EventType::Other, Follows::Nothing),
        ("https://else.example/event".to_owned(), json!(7), EventType::Other, Follows::Nothing),
    ] {
        let event = only(judge(&set(&uri, payload)));
        assert_eq!((event.kind, event.follows), (kind, follows), "{uri}");
    }
}

/// What an operator took back of a transmitter's keys is told by the key, not by what a SET says of it.
#[test]
fn a_word_that_names_no_key_is_known_by_the_one_that_signed_it() {
    let nameless = keys().p256.sign_as(&with(header(), json!({ "kid": null })), &revoked());
    assert_eq!(judge_by(&signals(), &nameless).unwrap().kid(), Some("p256"));
}

#[test]
fn what_a_good_one_says_of_itself_is_known() {
    let judged = judge(&revoked()).unwrap();
    assert_eq!(
        (judged.id(), judged.kid(), judged.issued_at()),
        ("e-1", Some("p256"), Timestamp::from_secs(EARLIER))
    );
    let both =
        json!({ format!("{CAEP}session-revoked"): {}, format!("{RISC}sessions-revoked"): {}, "x": {} });
    assert_eq!(judge(&with(revoked(), json!({ "events": both }))).unwrap().events().len(), 3);
    for typ in ["secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"] {
        let text = keys().p256.sign_as(&with(header(), json!({ "typ": typ })), &revoked());
        assert!(judge_by(&signals(), &text).is_ok(), "{typ}");
    }
    for changes in [
        json!({ "aud": ["https://else.example", RECEIVER] }),
        json!({ "txn": "8675309", "trace": { "x": 1 } }),
        json!({ "iat": NOW.as_secs() + 30 }),
        json!({ "iat": NOW.as_secs() - 30 * 86_400 }),
        json!({ "nbf": NOW.as_secs() }),
    ] {
        assert!(judge(&with(revoked(), changes.clone())).is_ok(), "{changes}");
    }
}

#[test]
fn a_subject_is_found_wherever_it_may_stand() {
    let old = json!({ "subject_type": "iss-sub", "iss": format!("{ISS}/"), "sub": "alice" });
    let in_event = |subject: Value| {
        let uri = format!("{RISC}sessions-revoked");
        with(set(&uri, json!({ "subject": subject })), json!({ "sub_id": null }))
    };
    let beside = set(&format!("{RISC}sessions-revoked"), json!({ "subject": old.clone() }));
    for claims in [in_event(alice()), in_event(old.clone()), beside] {
        assert_eq!(only(judge(&claims)).follows, over(&[], &["alice"]), "{claims}");
    }
    let other = set(
        &format!("{RISC}sessions-revoked"),
        json!({ "subject": { "format": "iss_sub", "iss": ISS, "sub": "bob" } }),
    );
    refused(judge(&other), Code::InvalidRequest, "different subjects");
}

#[test]
fn no_less_is_over_than_what_may_have_been_meant() {
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    let user_and_session =
        json!({ "format": "complex", "user": alice(), "session": opaque("s-1"), "tenant": opaque("t") });
    let on_device = json!({ "format": "complex", "user": alice(), "device": opaque("d") });
    for (subject, sessions, everything_of) in [
        (alice(), &[][..], &["alice"][..]),
        (opaque("x"), &["x"], &["x"]),
        (json!({ "format": "complex", "session": opaque("s-1") }), &["s-1"], &[]),
        (user_and_session.clone(), &["s-1"], &["alice"]),
        (json!({ "user": alice(), "device": opaque("d") }), &[], &["alice"]),
        (on_device.clone(), &[], &["alice"]),
    ] {
        let event = only(judge(&with(revoked(), json!({ "sub_id": subject }))));
        assert_eq!(event.follows, over(sessions, everything_of), "{subject}");
    }
    let disabled = set(&format!("{RISC}account-disabled"), json!({}));
    for subject in [user_and_session, on_device] {
        let judged = judge(&with(disabled.clone(), json!({ "sub_id": subject })));
        refused(judged, Code::InvalidRequest, "less than an account");
    }
    let of_tenant = json!({ "format": "complex", "user": opaque("alice"), "tenant": opaque("t") });
    let event = only(judge(&with(disabled, json!({ "sub_id": of_tenant }))));
    assert_eq!(event.follows, Follows::Disabled(of_issuer("alice")));
}

#[test]
fn who_cannot_be_told_is_refused() {
    let of = |subject: Value| judge(&with(revoked(), json!({ "sub_id": subject })));
    refused(judge(&with(revoked(), json!({ "sub_id": null }))), Code::InvalidRequest, "no sub_id");
    for (subject, why) in [
        (json!({ "format": "email", "email": "a@example.com" }), "iss_sub or opaque"),
        (json!({ "format": "aliases", "identifiers": [alice()] }), "iss_sub or opaque"),
        (json!({ "iss": ISS, "sub": "alice" }), "iss_sub or opaque"),
        (json!({ "format": 7, "iss": ISS, "sub": "alice" }), "iss_sub or opaque"),
        (json!({ "format": "iss_sub", "iss": ISS }), "must be strings"),
        (json!({ "format": "iss_sub", "iss": ISS, "sub": "" }), "must be strings"),
        (json!({ "format": "iss_sub", "iss": ISS, "sub": ["alice"] }), "must be strings"),
        (json!({ "format": "opaque", "id": "" }), "must be strings"),
        (json!("alice"), "must be an object"),
        (json!({ "format": "complex", "user": "alice" }), "must be an object"),
        (
            json!({ "format": "complex", "user": { "format": "complex", "user": alice() } }),
            "iss_sub or opaque",
        ),
        (
            json!({ "format": "complex", "device": { "format": "opaque", "id": "d" } }),
            "neither a session nor a user",
        ),
    ] {
        refused(of(subject), Code::InvalidRequest, why);
    }
    let stranger = json!({ "format": "iss_sub", "iss": "https://else.example", "sub": "alice" });
    refused(of(stranger), Code::AccessDenied, "no say over");
    let only_session = json!({ "format": "complex", "session": { "format": "opaque", "id": "s" } });
    let changed = with(set(&format!("{RISC}sessions-revoked"), json!({})), json!({ "sub_id": only_session }));
    refused(judge(&changed), Code::InvalidRequest, "names no user");
    let two = SignalRules { revokes: vec![ISS.to_owned(), "https://two.example".to_owned()], ..signals() };
    let opaque = with(revoked(), json!({ "sub_id": { "format": "opaque", "id": "x" } }));
    refused(judge_by(&two, &signed(&opaque)), Code::InvalidRequest, "several issuers");
    assert!(judge_by(&two, &signed(&revoked())).is_ok());
}

/// Some write into access tokens another name of themselves, and so may who repeats what stands there.
#[test]
fn a_subject_is_the_issuers_own_by_whichever_of_its_names() {
    const SAID: &str = "http://as.example/services/trust";
    let rules = SignalRules { also_called: vec![(SAID.to_owned(), ISS.to_owned())], ..signals() };
    let about = |iss: &str| {
        let subject = json!({ "format": "iss_sub", "iss": iss, "sub": "alice" });
        let set = signed(&with(revoked(), json!({ "sub_id": subject })));
        (judge_by(&rules, &set), judge(&with(revoked(), json!({ "sub_id": subject }))))
    };
    let (known, unknown) = about(SAID);
    assert_eq!(known.unwrap().events(), judge(&revoked()).unwrap().events());
    refused(unknown, Code::AccessDenied, "no say over");
    refused(about("http://as.example/services").0, Code::AccessDenied, "no say over");
}

#[test]
fn what_is_no_set_of_this_transmitter_is_refused() {
    for (changes, code, why) in [
        (json!({ "iss": ISS }), Code::InvalidIssuer, "none of the configured"),
        (json!({ "iss": null }), Code::InvalidIssuer, "none of the configured"),
        (json!({ "aud": "https://else.example" }), Code::InvalidAudience, "does not name"),
        (json!({ "aud": null }), Code::InvalidAudience, "no aud"),
        (json!({ "aud": [RECEIVER, 5] }), Code::InvalidRequest, "aud must be"),
        (json!({ "exp": NOW.as_secs() + 60 }), Code::InvalidRequest, "no exp"),
        (json!({ "sub": "alice" }), Code::InvalidRequest, "no sub"),
        (json!({ "jti": null }), Code::InvalidRequest, "jti"),
        (json!({ "jti": "" }), Code::InvalidRequest, "jti"),
        (json!({ "jti": 1 }), Code::InvalidRequest, "jti"),
        (json!({ "iat": null }), Code::InvalidRequest, "no iat"),
        (json!({ "iat": "now" }), Code::InvalidRequest, "seconds between"),
        (json!({ "iat": NOW.as_secs() + 31 }), Code::InvalidRequest, "not valid yet"),
        (json!({ "nbf": NOW.as_secs() + 31 }), Code::InvalidRequest, "not valid yet"),
        (json!({ "iat": NOW.as_secs() - 30 * 86_400 - 31 }), Code::InvalidRequest, "30 days ago"),
        (json!({ "events": null }), Code::InvalidRequest, "events must be"),
        (json!({ "events": {} }), Code::InvalidRequest, "events must be"),
        (json!({ "events": [format!("{CAEP}session-revoked")] }), Code::InvalidRequest, "events must be"),
        (
            json!({ "events": { format!("{CAEP}session-revoked"): null } }),
            Code::InvalidRequest,
            "must be an object",
        ),
        (
            json!({ "events": { format!("{CAEP}credential-change"): {} } }),
            Code::InvalidRequest,
            "change_type",
        ),
        (
            json!({ "events": { format!("{CAEP}credential-change"): { "change_type": "lost" } } }),
            Code::InvalidRequest,
            "change_type",
        ),
        (
            json!({ "events": { format!("{RISC}account-disabled"): {}, format!("{RISC}account-enabled"): {} } }),
            Code::InvalidRequest,
            "enabled, and that it is disabled",
        ),
    ] {
        refused(judge(&with(revoked(), changes)), code, why);
    }
    for typ in [
        json!(null),
        json!("JWT"),
        json!("at+jwt"),
        json!("logout+jwt"),
        json!("secevent"),
        json!("x/y/secevent+jwt"),
    ] {
        let text = keys().p256.sign_as(&with(header(), json!({ "typ": typ })), &revoked());
        refused(judge_by(&signals(), &text), Code::InvalidRequest, "secevent+jwt");
    }
}

#[test]
fn nobody_else_makes_one() {
    let good = signed(&revoked());
    let (body, _) = good.rsplit_once('.').unwrap();
    let stranger = new_p256("p256").sign_as(&header(), &revoked());
    let (_, foreign) = stranger.rsplit_once('.').unwrap();
    refused(judge_by(&signals(), &format!("{body}.{foreign}")), Code::AuthenticationFailed, "signature");
    refused(judge_by(&signals(), &stranger), Code::AuthenticationFailed, "signature");
    let unknown = new_p256("new").sign_as(&with(header(), json!({ "kid": "new" })), &revoked());
    refused(judge_by(&signals(), &unknown), Code::InvalidKey, "does not publish");
    let none = unsigned(&json!({ "alg": "none", "typ": "secevent+jwt" }).to_string(), &revoked().to_string());
    refused(judge_by(&signals(), &format!("{none}.")), Code::InvalidRequest, "algorithm");
    let by_secret = sign_hs256(SECRET, &json!({ "alg": "HS256", "typ": "secevent+jwt" }), &revoked());
    refused(judge_by(&signals(), &by_secret), Code::InvalidRequest, "algorithm");
    let elsewhere =
        keys().ed.sign_as(&json!({ "alg": "EdDSA", "kid": "ed", "typ": "secevent+jwt" }), &revoked());
    refused(judge_by(&signals(), &elsewhere), Code::InvalidRequest, "algorithm");
    refused(judge_by(&signals(), "x"), Code::InvalidRequest, "three base64url parts");
    refused(
        VerifiedSecurityEvent::verify(&good, good.len() - 1, &all_keys(), &signals(), NOW),
        Code::InvalidRequest,
        "limits.token",
    );
}

#[test]
fn a_transmitter_uses_what_it_may() {
    let rules = SignalRules { events: vec![EventType::SessionRevoked], ..signals() };
    assert!(judge_by(&rules, &signed(&revoked())).is_ok());
    for uri in [
        format!("{RISC}account-disabled"),
        format!("{RISC}account-enabled"),
        format!("{RISC}account-purged"),
        format!("{RISC}sessions-revoked"),
    ] {
        refused(judge_by(&rules, &signed(&set(&uri, json!({})))), Code::AccessDenied, "may not use");
    }
    for uri in
        [format!("{SSF}verification"), format!("{SSF}stream-updated"), format!("{RISC}identifier-changed")]
    {
        assert!(judge_by(&rules, &signed(&set(&uri, json!({})))).is_ok(), "{uri}");
    }
}

#[test]
fn when_it_happened_is_what_was_said_where_that_is_sensible() {
    let at = |payload: Value, changes: Value| {
        only(judge(&with(set(&format!("{CAEP}session-revoked"), payload), changes))).at.as_secs()
    };
    let none = || json!({});
    assert_eq!(at(json!({}), none()), EARLIER);
    assert_eq!(at(json!({ "event_timestamp": EARLIER - 300 }), none()), EARLIER - 300);
    assert_eq!(at(json!({ "event_timestamp": EARLIER - 300 }), json!({ "toe": EARLIER - 9 })), EARLIER - 300);
    assert_eq!(at(json!({}), json!({ "toe": EARLIER - 9 })), EARLIER - 9);
    for no_moment in [
        json!(EARLIER + 1),
        json!(EARLIER * 1000),
        json!(0),
        json!(EARLIER - 30 * 86_400 - 1),
        json!("2026-01-01T00:00:00Z"),
        json!(-1),
        json!(null),
    ] {
        assert_eq!(at(json!({ "event_timestamp": no_moment }), none()), EARLIER, "{no_moment}");
    }
    let ahead = NOW.as_secs() + 30;
    assert_eq!(at(json!({ "event_timestamp": ahead }), json!({ "iat": ahead })), ahead, "by its clock");
}

#[test]
fn when_it_happened_is_known_to_the_part_of_a_second_also_in_that_of_iat() {
    let at = |said: Value, issued_at: Value| {
        let event = set(&format!("{CAEP}session-revoked"), json!({ "event_timestamp": said }));
        only(judge(&with(event, json!({ "iat": issued_at })))).at.as_millis() - EARLIER * 1000
    };
    let of = |fraction: f64| {
        #[allow(clippy::cast_precision_loss)] // far from where a second is lost
        let seconds = EARLIER as f64;
        json!(seconds + fraction)
    };
    assert_eq!(at(of(0.25), json!(EARLIER)), 250);
    assert_eq!(at(of(0.75), of(0.5)), 750);
    assert_eq!(at(of(-0.5), json!(EARLIER)), -500);
    assert_eq!(at(of(1.0), of(0.5)), 500, "in another second it is later than the token");
}

#[test]
fn a_reason_is_kept_in_words_and_short() {
    let reason = |payload: Value| only(judge(&set(&format!("{CAEP}session-revoked"), payload))).reason;
    assert_eq!(reason(json!({})), None);
    let by_policy = json!({ "initiating_entity": "policy", "reason_admin": { "de": "Regel", "en": "Policy C076\u{1b}[31mE822" } });
    assert_eq!(reason(by_policy).unwrap(), "by policy: Policy C076[31mE822");
    assert_eq!(reason(json!({ "reason_admin": { "de": "Regel" } })).unwrap(), "Regel");
    assert_eq!(reason(json!({ "reason": "hijacking" })).unwrap(), "hijacking");
    assert_eq!(reason(json!({ "initiating_entity": "user", "reason_admin": 7 })).unwrap(), "by user");
    assert_eq!(reason(json!({ "reason_admin": "ä".repeat(500) })).unwrap().chars().count(), 200);
}

#[test]
fn it_passes_as_no_other_token_and_no_other_as_it() {
    use crate::core::token::id_token;
    use crate::core::token::logout_token::VerifiedLogoutToken;
    use crate::core::token::testing::{AUDIENCE, claims, rules};
    // Of one who is issuer and transmitter, for an audience that is both.
    let one = SignalRules {
        iss: ISS.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "web-app".to_owned()],
        ..signals()
    };
    let as_set = with(revoked(), json!({ "iss": ISS, "aud": ["web-app", AUDIENCE] }));
    assert!(judge_by(&one, &signed(&as_set)).is_ok());
    let text = signed(&with(as_set, json!({ "exp": NOW.as_secs() + 60, "sub": "alice", "sid": "s" })));
    assert!(Unverified::parse(&text, 8192).unwrap().verify(&all_keys(), &rules(), NOW).is_err());
    assert!(VerifiedLogoutToken::verify(&text, 8192, &all_keys(), &rules(), NOW).is_err());
    assert!(id_token::Plausible::check(Unverified::parse(&text, 8192).unwrap(), &rules(), NOW).is_err());
    for typ in ["at+jwt", "JWT", "logout+jwt"] {
        let text = keys().p256.sign_as(&with(header(), json!({ "typ": typ })), &claims());
        assert!(judge_by(&one, &text).is_err(), "{typ}");
    }
}
