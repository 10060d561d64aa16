//! A Security Event Token is made of members that are fine and of members that spoil it, and signed well; it
//! is accepted when none spoils it, and only then. What it says follows is about somebody whom the
//! transmitter has a say over, and lies no further ahead than clocks may differ; and it is no other token.

use std::sync::LazyLock;
use std::time::Duration;

use tollgate::core::token::Algorithm;
use tollgate::core::token::jwt::Unverified;
use tollgate::core::token::logout_token::VerifiedLogoutToken;
use tollgate::core::token::security_event::event::{EventType, Follows};
use tollgate::core::token::security_event::subject::Named;
use tollgate::core::token::security_event::{SignalRules, VerifiedSecurityEvent};

use crate::choices::Choices;
use crate::jwt::Is::{Fine, Spoiling};
use crate::jwt::{HEADER, ISSUER, MORE_OF_HEADER, Member, NOW, object};

const SUBJECTS_OF: &str = "https://login.example";

static RULES: LazyLock<SignalRules> = LazyLock::new(|| SignalRules {
    iss: "https://as.example".to_owned(),
    audiences: vec!["gate".to_owned()],
    algorithms: Algorithm::ALL.to_vec(),
    clock_skew: Duration::from_secs(30),
    revokes: vec![SUBJECTS_OF.to_owned()],
    also_called: Vec::new(),
    events: EventType::USED.iter().copied().filter(|event| *event != EventType::SessionsRevoked).collect(),
});

const TYPES: &[Member] = &[
    (r#""typ":"secevent+jwt""#, Fine),
    (r#""typ":"application/SECEVENT+jwt""#, Fine),
    (r#""typ":"JWT""#, Spoiling),
    ("", Spoiling),
    (r#""typ":"at+jwt""#, Spoiling),
    (r#""typ":"logout+jwt""#, Spoiling),
    (r#""typ":"secevent""#, Spoiling),
    (r#""typ":"application/application/secevent+jwt""#, Spoiling),
    (r#""typ":"""#, Spoiling),
    (r#""typ":null"#, Spoiling),
];

/// The event always needs a subject.
const PAYLOAD: [&[Member]; 6] = [
    &[
        (r#""iss":"https://as.example""#, Fine),
        (r#""iss":"https://as.example/""#, Spoiling),
        (r#""iss":["https://as.example"]"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""aud":"gate""#, Fine),
        (r#""aud":["else","gate"]"#, Fine),
        (r#""aud":["gate",5]"#, Spoiling),
        (r#""aud":"https://api.example.com""#, Spoiling),
        (r#""aud":[]"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""iat":1799999940"#, Fine),
        (r#""iat":1800000030"#, Fine),
        (r#""iat":1797408000"#, Fine),
        (r#""iat":1800000030.001"#, Spoiling),
        (r#""iat":1797407969"#, Spoiling),
        (r#""iat":"1799999940""#, Spoiling),
        (r#""iat":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""jti":"1""#, Fine),
        (r#""jti":"""#, Spoiling),
        (r#""jti":1"#, Spoiling),
        (r#""jti":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""sub_id":{"format":"iss_sub","iss":"https://login.example","sub":"alice"}"#, Fine),
        (r#""sub_id":{"format":"iss_sub","iss":"https:\/\/login.example/","sub":"alice","x":{}}"#, Fine),
        (r#""sub_id":{"subject_type":"iss-sub","iss":"https://login.example","sub":"alice"}"#, Fine),
        (r#""sub_id":{"format":"opaque","id":"alice"}"#, Fine),
        (r#""sub_id":{"format":"complex","user":{"format":"opaque","id":"alice"},"tenant":0}"#, Fine),
        (r#""sub_id":{"user":{"format":"iss_sub","iss":"https://login.example","sub":"alice"}}"#, Fine),
        (r#""sub_id":{"format":"iss_sub","iss":"https://as.example","sub":"alice"}"#, Spoiling),
        (r#""sub_id":{"format":"iss_sub","iss":"https://login.example//","sub":"alice"}"#, Spoiling),
        (r#""sub_id":{"format":"iss_sub","iss":"https://login.example","sub":""}"#, Spoiling),
        (r#""sub_id":{"format":"iss_sub","iss":"https://login.example"}"#, Spoiling),
        (r#""sub_id":{"format":"opaque","id":7}"#, Spoiling),
        (r#""sub_id":{"format":"email","email":"a@b.example"}"#, Spoiling),
        (r#""sub_id":{"format":"complex","tenant":{"format":"opaque","id":"t"}}"#, Spoiling),
        (
            r#""sub_id":{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"a"}}}"#,
            Spoiling,
        ),
        (r#""sub_id":{"format":"opaque","format":"opaque","id":"a"}"#, Spoiling),
        (r#""sub_id":["alice"]"#, Spoiling),
        (r#""sub_id":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{}}"#, Fine),
        (
            r#""events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":{"event_timestamp":9e9},"x":0}"#,
            Fine,
        ),
        (
            r#""events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"update"}}"#,
            Fine,
        ),
        (
            r#""events":{"https:\/\/schemas.openid.net/secevent/risc/event-type/account-disabled":{"reason":["x"]}}"#,
            Fine,
        ),
        (
            r#""events":{"https://schemas.openid.net/secevent/risc/event-type/account-enabled":{"event_timestamp":1799999000}}"#,
            Fine,
        ),
        (r#""events":{"https://schemas.openid.net/secevent/risc/event-type/sessions-revoked":{}}"#, Spoiling),
        (
            r#""events":{"https://schemas.openid.net/secevent/risc/event-type/account-enabled":{},"https://schemas.openid.net/secevent/risc/event-type/account-disabled":{}}"#,
            Spoiling,
        ),
        (
            r#""events":{"https://schemas.openid.net/secevent/caep/event-type/credential-change":{"change_type":"lost"}}"#,
            Spoiling,
        ),
        (r#""events":{"https://schemas.openid.net/secevent/caep/event-type/session-revoked":[]}"#, Spoiling),
        (r#""events":["https://schemas.openid.net/secevent/caep/event-type/session-revoked"]"#, Spoiling),
        (r#""events":{}"#, Spoiling),
        (r#""events":null"#, Spoiling),
        ("", Spoiling),
    ],
];

const MORE_OF_PAYLOAD: &[Member] = &[
    (r#""toe":1799990000"#, Fine),
    (r#""toe":"yesterday""#, Fine),
    (r#""txn":"x""#, Fine),
    (r#""nonce":"n""#, Fine),
    (r#""nbf":1800000030"#, Fine),
    (r#""nbf":1800000031"#, Spoiling),
    (r#""exp":1800000540"#, Spoiling),
    (r#""exp":null"#, Spoiling),
    (r#""sub":"alice""#, Spoiling),
    (r#""sub":null"#, Spoiling),
    (r#""x":[{"a":1,"a":1}]"#, Spoiling),
];

#[test]
fn a_well_signed_security_event_is_accepted_when_nothing_spoils_it_and_only_then() {
    let [algorithms, kids, _] = HEADER;
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, of_header) = object(&mut choices, &[algorithms, kids, TYPES], MORE_OF_HEADER);
        let (payload, of_payload) = object(&mut choices, &PAYLOAD, MORE_OF_PAYLOAD);
        let is_spoiled = of_header.iter().chain(&of_payload).any(|is| *is == Spoiling);
        let token = ISSUER.sign(&header, &payload);
        let judged = VerifiedSecurityEvent::verify(&token, 8192, &ISSUER.keys, &RULES, NOW);
        assert_eq!(judged.is_ok(), !is_spoiled, "{header} {payload} {judged:?}");
        let Ok(judged) = judged else { return };
        for event in judged.events() {
            assert!(event.at.as_secs() <= NOW.plus(RULES.clock_skew).as_secs(), "{payload}");
            let named: Vec<&Named> = match &event.follows {
                Follows::Over { sessions, everything_of } => sessions.iter().chain(everything_of).collect(),
                Follows::Disabled(named) | Follows::Enabled(named) | Follows::Purged(named) => vec![named],
                Follows::Stream(_) | Follows::Nothing => continue,
            };
            let is_hers = |named: &&Named| named.iss == SUBJECTS_OF && named.value == "alice";
            assert!(!named.is_empty() && named.iter().all(is_hers), "{payload} {event:?}");
        }
        let as_access_token = Unverified::parse(&token, 8192).unwrap();
        assert!(as_access_token.verify(&ISSUER.keys, &ISSUER.rules, NOW).is_err(), "{header} {payload}");
        let as_logout_token = VerifiedLogoutToken::verify(&token, 8192, &ISSUER.keys, &ISSUER.rules, NOW);
        assert!(as_logout_token.is_err(), "{header} {payload}");
    });
}
