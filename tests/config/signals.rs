//! Transmitters of shared signals.

use std::time::Duration;

use tollgate::config::settings::*;
use tollgate::core::token::Algorithm;
use tollgate::core::token::security_event::event::EventType;

use super::support::*;

#[test]
fn a_transmitter_has_keys_and_a_say_over_subjects_of_issuers() {
    let place = |key: &str| format!("signals.okta{key}");
    let with = |parts: Parts, keys: &str| {
        let all =
            format!("signals: {{ okta: {{ issuer: \"https://okta.example\", audience: gate, {keys} }} }}");
        parts.with(&all).text()
    };
    let text = |keys: &str| with(good(), keys);
    let okta = settings(&text("")).signals[0].clone();
    assert_eq!((okta.name.as_str(), okta.rules.iss.as_str()), ("okta", "https://okta.example"));
    assert_eq!(okta.rules.revokes, ["https://login.example.com"], "of the only issuer");
    assert_eq!(okta.rules.events, EventType::USED);
    assert!(okta.token.is_none());
    let SignalKeys::Own(called) = &okta.keys else { panic!("{:?}", okta.keys) };
    assert!(
        matches!(&called.keys, KeySource::Discovery(Some(url)) if url.as_str() == "https://okta.example/.well-known/ssf-configuration")
    );
    assert!(settings(&good().text()).signals.is_empty());
    assert!(settings(&good().with("signals: {}").text()).signals.is_empty());

    only_error(&text("revokes: crop"), &place(".revokes"), "did you mean `corp`?");
    only_error(&text("events: [session-revoke]"), &place(".events[0]"), "did you mean `session-revoked`?");
    only_error(&text("events: [verification]"), &place(".events[0]"), "write one of `session-revoked`");
    only_error(&text("events: []"), &place(".events"), "the list is empty");
    only_error(&text("token: short"), &place(".token"), "16 or more");
    only_error(&text("jwks_uri: \"http://okta.example\""), &place(".jwks_uri"), "https");
    only_error(
        &text("jwks_uri: \"https://okta.example\", discovery: \"https://okta.example\""),
        &place(".jwks_uri"),
        "keep one of the two",
    );
    only_error(&text("secret: x"), &place(".secret"), "unknown key");
    only_error(&text("timeout: 2m"), &place(".timeout"), "from 100ms to 1m");
    only_error(&good().with("signals: { okta: { audience: gate } }").text(), &place(""), "issuer");
    only_error(&good().with("signals: { okta: { issuer: \"https://x\" } }").text(), &place(""), "audience");
    only_error(
        &good().with("signals: { o k: { issuer: \"https://x\", audience: a } }").text(),
        "signals[\"o k\"]",
        "fit",
    );
    let twice =
        "signals: { a: { issuer: \"https://x\", audience: a }, b: { issuer: \"https://x\", audience: b } }";
    only_error(&good().with(twice).text(), "signals.b.issuer", "`signals.a` has this issuer too");

    let mut two = good();
    two.issuers.push_str("  other: { url: \"https://other\", audience: x }\n");
    only_error(&with(two.clone(), ""), &place(""), "`corp`, `other`");
    assert_eq!(settings(&with(two, "revokes: [other, corp]")).signals[0].rules.revokes.len(), 2);
    // A mistake elsewhere makes none here.
    let broken = with(good().issuer("clock_skew: 11m"), "revokes: corp");
    only_error(&broken, "issuers.corp.clock_skew", "10m");
    let lonely = parse(&text("events: [account-disabled]")).unwrap().warnings;
    assert!(lonely.iter().any(|warning| warning.path == place(".events")), "{lonely:?}");
}

#[test]
fn a_transmitter_that_is_an_issuer_has_its_keys_unless_they_are_a_secret() {
    let same = |more: &str| {
        format!("signals: {{ corp: {{ issuer: \"https://login.example.com\", audience: gate, {more} }} }}")
    };
    let of_issuer = settings(&good().issuer("clock_skew: 10s, algorithms: [RS256]").with(&same("")).text());
    let signal = &of_issuer.signals[0];
    assert!(matches!(&signal.keys, SignalKeys::OfIssuer(name) if name.as_str() == "corp"));
    assert_eq!(signal.rules.clock_skew, Duration::from_secs(10));
    assert_eq!(signal.rules.algorithms, [Algorithm::Rs256]);
    assert_eq!(of_issuer.called().len(), 1);
    only_error(&good().with(&same("timeout: 1s")).text(), "signals.corp.timeout", "never called");
    let own =
        settings(&good().with(&same("discovery: \"https://login.example.com/ssf\", timeout: 1s")).text());
    assert!(matches!(own.signals[0].keys, SignalKeys::Own(_)));
    let shared = good().issuer("shared_secret: 0123456789abcdef0123456789abcdef");
    only_error(&shared.clone().with(&same("")).text(), "signals.corp.issuer", "`jwks_uri` or `jwks_file`");
    assert!(parse(&shared.with(&same("jwks_uri: \"https://login.example.com/keys\"")).text()).is_ok());
}
