use std::net::Ipv4Addr;

use super::*;
use crate::config::settings::{Log, LogFormat, Settings};
use crate::core::revocation::Target;
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::time::Timestamp;
use crate::flows::testing;
use crate::flows::testing::lines::Lines;
use crate::state::issuer_keys::Issuers;
use crate::state::transmitters::Transmitters;

/// Of a gateway whose log names people in this way.
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
