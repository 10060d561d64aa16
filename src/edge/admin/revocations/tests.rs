use std::net::Ipv4Addr;

use super::*;
use crate::config::settings::{Issuer, IssuerConnection, KeySource, Log, LogFormat, Settings};
use crate::core::ids::IssuerName;
use crate::core::revocation::Target;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::time::Timestamp;
use crate::core::token::testing::{ISS, rules};
use crate::flows::testing;
use crate::flows::testing::lines::Lines;
use crate::state::issuer_keys::Issuers;
use crate::state::transmitters::Transmitters;

/// What is live in a gateway whose log names people in this way.
fn live(subject: SubjectInLog) -> Live {
    let log = Log { format: LogFormat::Json, level: tracing::Level::INFO, subject };
    Live {
        settings: Arc::new(Settings { log, ..testing::settings("https://gate.example") }),
        routes: RouteTable::build(&[]).unwrap(),
        issuers: Issuers::new(&[], None),
        transmitters: Transmitters::default(),
        cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![5; 32])]).unwrap()),
        assertions: None,
    }
}

#[test]
fn a_person_is_named_in_the_audit_as_the_access_log_names_people() {
    let who = Who { name: Some("bob".to_owned()), address: Ipv4Addr::LOCALHOST.into() };
    for (subject, is_named) in
        [(SubjectInLog::Plain, true), (SubjectInLog::Hash, false), (SubjectInLog::None, false)]
    {
        let lines = Lines::listen();
        for (kind, value) in [(Kind::Sub, "alice"), (Kind::Sid, "sid-1")] {
            let target = Target { kind, whose: Whose::All, value: value.to_owned() };
            let revocation = Revocation::new(target, Rule::Block, Timestamp::from_secs(1_800_000_000));
            audit(&live(subject), &who, "revoked", &revocation);
        }
        let text = lines.text();
        assert_eq!(text.contains("alice"), is_named, "{subject:?}: {text}");
        assert!(text.contains("sid-1") && text.contains("bob"), "{subject:?}: {text}");
    }
}

const SAID: &str = "http://as.example/services/trust";

/// An issuer that has two names.
fn issuer() -> Issuer {
    let rules = TokenRules { access_token_iss: vec![SAID.to_owned(), ISS.to_owned()], ..rules() };
    Issuer {
        name: IssuerName::new("demo"),
        rules,
        keys: KeySource::Discovery(None),
        timeout: std::time::Duration::from_secs(5),
        ca: None,
        connection: IssuerConnection::default(),
        keys_refresh: std::time::Duration::from_secs(600),
        introspection: None,
        signs_in: false,
    }
}

#[test]
fn what_is_of_an_issuer_is_listed_by_each_of_its_names_whichever_it_was_made_by() {
    let live = Live { issuers: Issuers::new(&[Arc::new(issuer())], None), ..live(SubjectInLog::Plain) };
    let target = |kind, whose: Whose, value: &str| Target { kind, whose, value: value.to_owned() };
    let of = |iss: &str| Whose::Of(iss.to_owned());
    for name in ["demo", ISS, SAID] {
        let given: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let by_issuer = part(&live, &format!("issuer={given}&value=alice")).unwrap();
        for (iss, is_listed) in [(ISS, true), (SAID, true), ("https://else.example", false)] {
            assert_eq!(by_issuer.takes(&target(Kind::Sub, of(iss), "alice")), is_listed, "{name} {iss}");
        }
        assert!(!by_issuer.takes(&target(Kind::Sub, of(SAID), "bob")));
        assert!(!by_issuer.takes(&target(Kind::Issuer, Whose::All, SAID)), "that is nobody called alice");
        let itself = part(&live, &format!("value={given}&kind=issuer")).unwrap();
        for (iss, is_listed) in [(ISS, true), (SAID, true), ("https://else.example", false)] {
            assert_eq!(itself.takes(&target(Kind::Issuer, Whose::All, iss)), is_listed, "{name} {iss}");
        }
    }
    let gone = part(&live, "kind=issuer&value=https%3A%2F%2Fgone.example").unwrap();
    assert!(gone.takes(&target(Kind::Issuer, Whose::All, "https://gone.example")), "of no issuer any more");
    let former = Revocation::new(target(Kind::Sub, of(SAID), "alice"), Rule::Block, Timestamp::from_secs(1));
    assert_eq!(Shown::of(&former, &live).issuer.as_deref(), Some("demo"));
}
