//! What somebody asks to take back, as the admin API and the commands write it: read into a [`Revocation`],
//! or every mistake in it said.

use std::fmt;

use serde::Deserialize;

use super::{Hold, Kind, Revocation, Rule, Target, Whose};
use crate::core::ids::FamilyId;
use crate::core::time::Timestamp;

/// The longest value, in bytes: what a token of the largest size could say.
const LONGEST_VALUE: usize = 8 * 1024;
/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1024;
/// The most by which a `before` may lie ahead: clocks of operators.
const LARGEST_LEAD: std::time::Duration = std::time::Duration::from_secs(5);

/// As it was written. Moments are RFC 3339, in UTC. A `kind` or `value` that is left out is empty, which is a
/// mistake among the others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub value: String,
    /// An issuer's name in config.yaml, its `iss`, or `*`.
    #[serde(default)]
    pub issuer: Option<String>,
    #[serde(default)]
    pub before: Option<String>,
    #[serde(default)]
    pub block: bool,
    #[serde(default)]
    pub until: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// Which member is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub member: &'static str,
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.what)
    }
}

/// The issuers that there are.
#[derive(Clone, Debug)]
pub struct KnownIssuers<'i> {
    /// Name and `iss` of each.
    pub all: Vec<(&'i str, &'i str)>,
    /// What else access tokens say, and the `iss` that they are of.
    pub also: Vec<(&'i str, &'i str)>,
}

impl KnownIssuers<'_> {
    fn iss(&self, given: &str) -> Result<String, String> {
        let found = self.all.iter().find(|(name, iss)| *name == given || *iss == given);
        let also = || self.also.iter().find(|(said, _)| *said == given);
        found
            .or_else(also)
            .map(|(_, iss)| (*iss).to_owned())
            .ok_or_else(|| format!("no issuer is called so; {}", self.names()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|(name, _)| *name).collect();
        format!("there is {}", names.join(", "))
    }

    /// The issuers whose values are meant.
    fn whose(&self, kind: Kind, given: Option<&str>) -> Result<Whose, String> {
        match (given, self.all.as_slice()) {
            (Some(_), _) if !kind.is_of_an_issuer() => {
                Err(format!("{} belongs to no issuer; leave it out", kind.label()))
            }
            (None, _) if !kind.is_of_an_issuer() => Ok(Whose::All),
            (Some("*"), _) => Ok(Whose::All),
            (Some(given), _) => self.iss(given).map(Whose::Of),
            (None, [(_, iss)]) => Ok(Whose::Of((*iss).to_owned())),
            (None, _) => Err(format!("say whose it is, or \"*\" for all; {}", self.names())),
        }
    }
}

impl Wanted {
    /// What it means. `hold`: how long what is revoked must be known, by whose it is.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(
        self,
        issuers: &KnownIssuers<'_>,
        hold: impl Fn(&Target) -> Hold,
        made_at: Timestamp,
        made_by: Option<String>,
    ) -> Result<Revocation, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut note = |member, what: String| mistakes.push(Mistake { member, what });
        let kind = Kind::parse(&self.kind).filter(|kind| *kind != Kind::Token);
        if kind.is_none() {
            note("kind", "is one of jti, sid, sub, client, kid, family and issuer".to_owned());
        }
        let target = self.target(kind, issuers, &mut note);
        let before = self.before.as_deref().and_then(|text| moment("before", text, &mut note));
        let until = self.until.as_deref().and_then(|text| moment("until", text, &mut note));
        if let Some(kind) = kind {
            self.check_rule(kind, &mut note);
        }
        if before.is_some_and(|before| before > made_at.plus(LARGEST_LEAD)) {
            note(
                "before",
                "lies in the future; what is issued later is revoked later, or use block".to_owned(),
            );
        }
        if until.is_some_and(|until| until <= made_at) {
            note("until", "is over already".to_owned());
        }
        if self.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
            note("reason", format!("is longer than {LONGEST_REASON} bytes"));
        }
        let (Some(target), true) = (target, mistakes.is_empty()) else { return Err(mistakes) };
        let rule = match (self.block, before, target.kind) {
            (true, ..) => Rule::Block,
            (false, Some(before), _) => Rule::Before(before.min(made_at)),
            (false, None, Kind::Sub | Kind::Client) => Rule::Before(made_at),
            (false, None, _) => Rule::Outright,
        };
        let until = match (rule, target.kind) {
            (Rule::Block, _) => until,
            (Rule::Outright, Kind::Kid | Kind::Issuer) => None,
            _ => Some(hold(&target).ends(made_at)),
        };
        Ok(Revocation { until, made_by, reason: self.reason, ..Revocation::new(target, rule, made_at) })
    }

    fn target(
        &self,
        kind: Option<Kind>,
        issuers: &KnownIssuers<'_>,
        note: &mut impl FnMut(&'static str, String),
    ) -> Option<Target> {
        let is_value = (1..=LONGEST_VALUE).contains(&self.value.len());
        if !is_value {
            note("value", format!("is what is revoked: 1 to {LONGEST_VALUE} bytes"));
        }
        let kind = kind?;
        let whose = issuers.whose(kind, self.issuer.as_deref()).map_err(|what| note("issuer", what)).ok();
        let value = match kind {
            _ if !is_value => None,
            Kind::Issuer => issuers.iss(&self.value).map_err(|what| note("value", what)).ok(),
            Kind::Family if FamilyId::parse(&self.value).is_none() => {
                note("value", "is a family's id, 32 hexadecimal digits, as the log writes it".to_owned());
                None
            }
            _ => Some(self.value.clone()),
        };
        Some(Target { kind, whose: whose?, value: value? })
    }

    fn check_rule(&self, kind: Kind, note: &mut impl FnMut(&'static str, String)) {
        if self.before.is_some() && !kind.takes_before() {
            note(
                "before",
                format!("{} is refused outright; only sub, client and issuer take it", kind.label()),
            );
        }
        if self.block && !kind.takes_block() {
            note("block", format!("{} is refused outright; only sub, client and sid take it", kind.label()));
        }
        if self.block && self.before.is_some() {
            note("block", "refuses everything, so before has no meaning beside it".to_owned());
        }
        if self.until.is_some() && !self.block {
            note(
                "until",
                "ends a block; other revocations end when nothing is left that they refuse".to_owned(),
            );
        }
    }
}

fn moment(
    member: &'static str,
    text: &str,
    note: &mut impl FnMut(&'static str, String),
) -> Option<Timestamp> {
    let moment = Timestamp::from_rfc3339(text);
    if moment.is_none() {
        note(member, "is a moment such as 2026-01-01T00:00:00Z".to_owned());
    }
    moment
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_764_100_000); // 2025-11-25T19:46:40Z
    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn read_with(issuers: &[(&str, &str)], wanted: serde_json::Value) -> Result<Revocation, Vec<String>> {
        let wanted: Wanted = serde_json::from_value(wanted).map_err(|error| vec![error.to_string()])?;
        let hold = Hold::new(Duration::from_secs(86_400), WEEK, Duration::ZERO);
        let read = wanted.read(
            &KnownIssuers { all: issuers.to_vec(), also: vec![("http://as/trust", "https://as")] },
            |_| hold,
            NOW,
            Some("bob".into()),
        );
        read.map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
    }

    fn read(wanted: serde_json::Value) -> Result<Revocation, Vec<String>> {
        read_with(&[("demo", "https://as")], wanted)
    }

    #[test]
    fn an_issuer_is_meant_by_each_of_its_names() {
        for name in ["demo", "https://as", "http://as/trust"] {
            let read = read(json!({ "kind": "sub", "value": "alice", "issuer": name })).unwrap();
            assert_eq!(read.target.whose, Whose::Of("https://as".to_owned()), "{name}");
        }
        let others = read(json!({ "kind": "sub", "value": "alice", "issuer": "http://as/" })).unwrap_err();
        assert_eq!(others, ["issuer: no issuer is called so; there is demo"]);
    }

    #[test]
    fn each_kind_has_the_rule_and_the_end_that_it_needs() {
        let (of, held) = (|| Whose::Of("https://as".into()), Some(NOW.plus(WEEK)));
        let family = "0123456789abcdef0123456789abcdef";
        for (wanted, whose, rule, until) in [
            (json!({ "kind": "jti", "value": "1" }), of(), Rule::Outright, held),
            (json!({ "kind": "sid", "value": "1" }), of(), Rule::Outright, held),
            (json!({ "kind": "sid", "value": "1", "block": true }), of(), Rule::Block, None),
            (json!({ "kind": "sub", "value": "alice" }), of(), Rule::Before(NOW), held),
            (json!({ "kind": "sub", "value": "alice", "issuer": "*" }), Whose::All, Rule::Before(NOW), held),
            (json!({ "kind": "client", "value": "c", "issuer": "demo" }), of(), Rule::Before(NOW), held),
            (
                json!({ "kind": "client", "value": "c", "issuer": "https://as" }),
                of(),
                Rule::Before(NOW),
                held,
            ),
            (json!({ "kind": "kid", "value": "k" }), of(), Rule::Outright, None),
            (json!({ "kind": "family", "value": family }), Whose::All, Rule::Outright, held),
            (json!({ "kind": "issuer", "value": "demo" }), Whose::All, Rule::Outright, None),
            (
                json!({ "kind": "issuer", "value": "demo", "before": "2025-01-01T00:00:00Z" }),
                Whose::All,
                Rule::Before(Timestamp::from_secs(1_735_689_600)),
                held,
            ),
            (
                json!({ "kind": "sub", "value": "a", "block": true, "until": "2025-12-01T00:00:00Z" }),
                of(),
                Rule::Block,
                Some(Timestamp::from_secs(1_764_547_200)),
            ),
        ] {
            let shown = wanted.to_string();
            let read = read(wanted).unwrap();
            assert_eq!((&read.target.whose, read.rule, read.until), (&whose, rule, until), "{shown}");
            assert_eq!((read.made_at, read.made_by.as_deref()), (NOW, Some("bob")));
        }
        let issuer = read(json!({ "kind": "issuer", "value": "demo" })).unwrap();
        assert_eq!(issuer.target.value, "https://as", "what tokens say, not what the file calls it");
    }

    #[test]
    fn every_mistake_is_said_with_what_would_be_right() {
        for (wanted, said) in [
            (json!({ "kind": "person", "value": "1" }), "kind: is one of jti"),
            (json!({ "kind": "token", "value": "1" }), "kind: is one of jti"),
            (json!({ "kind": "jti", "value": "" }), "value: is what is revoked"),
            (json!({ "kind": "jti", "value": "x".repeat(8193) }), "value: is what is revoked"),
            (
                json!({ "kind": "jti", "value": "1", "issuer": "corp" }),
                "issuer: no issuer is called so; there is demo",
            ),
            (json!({ "kind": "family", "value": "1" }), "value: is a family's id"),
            (json!({ "kind": "issuer", "value": "corp" }), "value: no issuer is called so; there is demo"),
            (
                json!({ "kind": "issuer", "value": "demo", "issuer": "demo" }),
                "issuer: issuer belongs to no issuer",
            ),
            (
                json!({ "kind": "jti", "value": "1", "before": "2025-01-01T00:00:00Z" }),
                "before: jti is refused outright",
            ),
            (json!({ "kind": "kid", "value": "1", "block": true }), "block: kid is refused outright"),
            (json!({ "kind": "sub", "value": "1", "before": "yesterday" }), "before: is a moment such as"),
            (
                json!({ "kind": "sub", "value": "1", "before": "2030-01-01T00:00:00Z" }),
                "before: lies in the future",
            ),
            (json!({ "kind": "sub", "value": "1", "until": "2030-01-01T00:00:00Z" }), "until: ends a block"),
            (
                json!({ "kind": "sub", "value": "1", "block": true, "until": "2020-01-01T00:00:00Z" }),
                "until: is over",
            ),
            (
                json!({ "kind": "sub", "value": "1", "block": true, "before": "2020-01-01T00:00:00Z" }),
                "block: refuses everything",
            ),
            (json!({ "kind": "sub", "value": "1", "reason": "x".repeat(1025) }), "reason: is longer"),
            (json!({ "kind": "sub", "value": "1", "when": "now" }), "unknown field `when`"),
            (json!({ "kind": "sub" }), "value: is what is revoked"),
            (json!({ "value": "alice" }), "kind: is one of jti"),
        ] {
            let shown = wanted.to_string();
            let mistakes = read(wanted).unwrap_err();
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(said)), "{shown}: {mistakes:?}");
        }
        let both = read(json!({ "kind": "jti", "value": "", "block": true })).unwrap_err();
        assert_eq!(both.len(), 2, "{both:?}");
        for (wanted, members) in [
            (json!({}), &["kind", "value"][..]),
            (json!({ "kind": "person", "reason": "x".repeat(1025) }), &["kind", "value", "reason"]),
            (json!({ "kind": "family", "value": "1", "issuer": "demo" }), &["issuer", "value"]),
            (
                json!({ "kind": "sub", "issuer": "corp", "until": "soon" }),
                &["value", "issuer", "until", "until"],
            ),
        ] {
            let shown = wanted.to_string();
            let said = read(wanted).unwrap_err();
            let said: Vec<_> = said.iter().filter_map(|mistake| mistake.split(':').next()).collect();
            assert_eq!(said, members, "{shown}");
        }
        let several = [("one", "https://one"), ("two", "https://two")];
        let whose = read_with(&several, json!({ "kind": "sub", "value": "alice" })).unwrap_err();
        assert!(whose[0].contains("one, two"), "{whose:?}");
    }

    #[test]
    fn a_moment_hardly_ahead_of_this_clock_is_now() {
        let before = NOW.plus(Duration::from_secs(3)).to_rfc3339();
        let read = read(json!({ "kind": "sub", "value": "alice", "before": before })).unwrap();
        assert_eq!(read.rule, Rule::Before(NOW));
    }

    /// A token may be dated ahead by `clock_skew`, and pass by as much after its end.
    #[test]
    fn a_revocation_outlives_the_last_token_that_it_refuses() {
        const MINUTE: Duration = Duration::from_secs(60);
        let hold = Hold::new(60 * MINUTE, Duration::ZERO, 10 * MINUTE);
        assert_eq!(hold.ends(NOW), NOW.plus(80 * MINUTE));
    }
}
