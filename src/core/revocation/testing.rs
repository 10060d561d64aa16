//! Revocations and what they meet, for tests of the rules and of the tables that must agree with them: few
//! values, so that they often meet, and short times, so that they end.

use bolero::TypeGenerator;

use super::{Change, GrantIdentity, Kind, Revocation, Rule, Target, TokenIdentity, Whose};
use crate::core::ids::FamilyId;
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;

const ISSUERS: [&str; 2] = ["https://one", "https://two"];
const VALUES: [&str; 3] = ["a", "b", "https://one"];

/// Some change of a list.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct SomeChange {
    kind: u8,
    whose: u8,
    value: u8,
    rule: u8,
    before: u8,
    until: Option<u8>,
    lifts: bool,
}

/// A token or a grant.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct SomeFacts {
    iss: u8,
    values: [Option<u8>; 5],
    since: u8,
    since_millis: u8,
}

fn pick<T: Copy>(from: &[T], at: u8) -> T {
    from[usize::from(at) % from.len()]
}

/// Moments are between 1 s and 17 s.
pub(crate) fn moment(at: u8) -> Timestamp {
    Timestamp::from_millis(1000 + i64::from(at) * 64)
}

fn token_id(at: u8) -> TokenId {
    TokenId::from_bytes([at % 3; 32])
}

fn family(at: u8) -> FamilyId {
    FamilyId::from_bytes([at % 3; 16])
}

impl SomeChange {
    pub(crate) fn change(self) -> Change {
        let kind = pick(&Kind::ALL, self.kind);
        let whose = match self.whose % 3 {
            0 if kind.is_of_an_issuer() => Whose::Of(ISSUERS[0].to_owned()),
            1 if kind.is_of_an_issuer() => Whose::Of(ISSUERS[1].to_owned()),
            _ => Whose::All,
        };
        let target = match kind {
            Kind::Token => Target::token(token_id(self.value)),
            Kind::Family => Target::family(family(self.value)),
            Kind::Issuer => Target { kind, whose, value: pick(&ISSUERS, self.value).to_owned() },
            _ => Target { kind, whose, value: pick(&VALUES, self.value).to_owned() },
        };
        let rule = match self.rule % 3 {
            0 if kind.takes_before() || kind == Kind::Sid => Rule::Before(moment(self.before)),
            1 if kind.takes_block() => Rule::Block,
            _ => Rule::Outright,
        };
        let until = self.until.map(|until| Timestamp::from_secs(moment(until).as_secs()));
        let (made_at, held_by) = (moment(0), Vec::new());
        let revocation = Revocation { target, rule, until, made_at, made_by: None, reason: None, held_by };
        if self.lifts { Change::Lift(revocation) } else { Change::Add(revocation) }
    }
}

impl SomeFacts {
    fn value(&self, at: usize) -> Option<&'static str> {
        self.values[at].map(|value| pick(&VALUES, value))
    }

    fn since(&self) -> Timestamp {
        Timestamp::from_millis(moment(self.since).as_millis() + i64::from(self.since_millis))
    }

    pub(crate) fn token(&self) -> TokenIdentity<'static> {
        TokenIdentity {
            id: token_id(self.since_millis),
            iss: pick(&ISSUERS, self.iss),
            jti: self.value(0),
            sid: self.value(1),
            sub: self.value(2),
            client: self.value(3),
            kid: self.value(4),
            issued_at: self.since(),
        }
    }

    pub(crate) fn grant(&self) -> GrantIdentity<'static> {
        GrantIdentity {
            family: family(self.since_millis),
            iss: pick(&ISSUERS, self.iss),
            sid: self.value(1),
            sub: self.value(2),
            client: self.value(3).unwrap_or("c"),
            signed_in_at: self.since(),
        }
    }
}
