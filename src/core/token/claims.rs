//! What a token says of its bearer, as rules, headers and balancers look it up: all of it, or, of one that is
//! remembered, what its configuration reads, which is a small part of it. Of a claim that is not there a
//! token may say that it stands elsewhere (OpenID Connect Core 1.0 section 5.6.2, aggregated and distributed
//! claims): so Entra ID leaves out the groups of people who are in many. Nobody looks there.
//!
//! It must never give another value for a name than the whole token has: what was not kept is absent, and
//! what is absent satisfies no requirement, wherever it is said to stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::core::token::json;

/// The names by which a configuration looks claims up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadClaims(Arc<[Box<str>]>);

impl<'n> FromIterator<&'n str> for ReadClaims {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let names: BTreeSet<&str> = names.into_iter().collect();
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl ReadClaims {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// As a token holds them.
#[derive(Clone, Debug)]
pub(super) enum Held {
    All(Map<String, Value>),
    Kept(KeptClaims),
}

/// The claims that were kept, each by the whole name that it is looked up by. Any other name finds nothing,
/// also not inside of what is kept for another.
#[derive(Clone, Debug)]
pub struct KeptClaims {
    names: ReadClaims,
    /// One for each name.
    places: Box<[Place]>,
}

/// What a token has at a name. As large as the value alone.
#[derive(Clone, Debug)]
enum Place {
    Holds(Value),
    /// Nothing, and it says that the claim stands elsewhere.
    Elsewhere,
    Nothing,
}

impl KeptClaims {
    fn place(&self, name: &str) -> Option<&Place> {
        let at = self.names.names().position(|own| own == name)?;
        self.places.get(at)
    }
}

impl Held {
    pub(super) fn view(&self) -> Claims<'_> {
        match self {
            Self::All(claims) => Claims::All(claims),
            Self::Kept(kept) => Claims::Kept(kept),
        }
    }

    /// Those of these names alone.
    pub(super) fn keep(&self, names: &ReadClaims) -> Self {
        let claims = self.view();
        let place = |name| match claims.get(name) {
            Some(value) => Place::Holds(value.clone()),
            None if claims.has_elsewhere(name) => Place::Elsewhere,
            None => Place::Nothing,
        };
        Self::Kept(KeptClaims { names: names.clone(), places: names.names().map(place).collect() })
    }

    /// How many bytes of memory they take beside their place, rather too many than too few.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::All(claims) => json::size_of_members(claims),
            Self::Kept(kept) => {
                let held = kept.places.iter().map(|place| match place {
                    Place::Holds(value) => json::size_of_held(value),
                    Place::Elsewhere | Place::Nothing => 0,
                });
                held.fold(json::HEAP.saturating_add(size_of_val(&*kept.places)), usize::saturating_add)
            }
        }
    }
}

/// To look claims up in.
#[derive(Clone, Copy, Debug)]
pub enum Claims<'a> {
    /// All that the token says.
    All(&'a Map<String, Value>),
    /// What is kept of one that is remembered.
    Kept(&'a KeptClaims),
}

impl<'a> Claims<'a> {
    /// The whole name literally first, then up to a dot, the last one first, and the rest in the object that
    /// is there. So names with dots of their own are found, and members of what they hold.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        match self {
            Self::All(claims) => find(claims, name),
            Self::Kept(kept) => match kept.place(name)? {
                Place::Holds(value) => Some(value),
                Place::Elsewhere | Place::Nothing => None,
            },
        }
    }

    /// Whether the token says of any claim that it stands elsewhere.
    pub fn has_any_elsewhere(self) -> bool {
        match self {
            Self::All(claims) => claims.contains_key(CLAIM_NAMES) || claims.contains_key(HAS_GROUPS),
            Self::Kept(kept) => kept.places.iter().any(|place| matches!(place, Place::Elsewhere)),
        }
    }

    /// Whether the claim is not here, and the token says that it stands elsewhere.
    pub fn has_elsewhere(self, name: &str) -> bool {
        match self {
            Self::All(claims) => is_named_elsewhere(claims, name) && find(claims, name).is_none(),
            Self::Kept(kept) => matches!(kept.place(name), Some(Place::Elsewhere)),
        }
    }
}

impl<'a> From<&'a Map<String, Value>> for Claims<'a> {
    fn from(claims: &'a Map<String, Value>) -> Self {
        Self::All(claims)
    }
}

/// What it names stands elsewhere.
const CLAIM_NAMES: &str = "_claim_names";
/// So Entra ID says it of `groups`, where a token must be short.
const HAS_GROUPS: &str = "hasgroups";

/// Whether the token says of the claim, or of what it would be a member of, that it stands elsewhere.
fn is_named_elsewhere(claims: &Map<String, Value>, name: &str) -> bool {
    let names = claims.get(CLAIM_NAMES).and_then(Value::as_object);
    let has_groups = claims.get(HAS_GROUPS).is_some_and(|has| !is_denial(has));
    let is_named =
        |name: &str| names.is_some_and(|names| names.contains_key(name)) || (has_groups && name == "groups");
    is_named(name) || name.match_indices('.').any(|(dot, _)| name.get(..dot).is_some_and(is_named))
}

/// The names that an object says, as a list says its values: Zitadel's roles are
/// `{"admin":{"<org>":"<name>"}}`. A member that is `false` or `null` says that it is not so.
pub fn said_names(object: &Map<String, Value>) -> impl Iterator<Item = &String> {
    object.iter().filter_map(|(name, value)| (!is_denial(value)).then_some(name))
}

fn is_denial(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let member = || {
        name.rmatch_indices('.').find_map(|(dot, _)| {
            let (outer, inner) = (name.get(..dot)?, name.get(dot.saturating_add(1)..)?);
            find(claims.get(outer)?.as_object()?, inner)
        })
    };
    claims.get(name).or_else(member)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Names that are parts of each other, in all the ways that a claim can be spelled.
    const NAMES: [&str; 9] = ["a", "b", "c", "a.b", "b.c", "a.b.c", "a.b.c.d", "", "."];

    /// An object of these names, some levels deep, as the choices say.
    fn object(choices: &mut impl Iterator<Item = u8>, depth: usize) -> Map<String, Value> {
        let mut members = Map::new();
        for name in NAMES.into_iter().chain(["_claim_names"]) {
            let value = match choices.next().unwrap_or_default() % 6 {
                0..=2 => continue,
                3 if depth > 0 => Value::Object(object(choices, depth - 1)),
                4 => Value::Null,
                other => json!(other),
            };
            members.insert(name.to_owned(), value);
        }
        members
    }

    #[test]
    fn what_is_kept_is_found_as_in_the_whole_token_and_nothing_else_is_found() {
        bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(read, choices)| {
            let all = Held::All(object(&mut choices.iter().copied(), 2));
            let is_read = |at: usize| read >> at & 1 == 1;
            let names = NAMES.iter().enumerate().filter(|(at, _)| is_read(*at)).map(|(_, name)| *name);
            let kept = all.keep(&names.collect());
            for (at, name) in NAMES.into_iter().enumerate() {
                let found = kept.view().get(name);
                let expected = all.view().get(name).filter(|_| is_read(at));
                assert_eq!(found, expected, "{name:?} of {all:?}, where {read:b} are read");
                let expected = all.view().has_elsewhere(name) && is_read(at);
                assert_eq!(kept.view().has_elsewhere(name), expected, "{name:?} of {all:?}");
                assert!(!expected || found.is_none(), "{name:?} of {all:?}");
            }
            let again = kept.keep(&NAMES.into_iter().collect());
            for name in NAMES {
                assert_eq!(
                    again.view().get(name),
                    kept.view().get(name),
                    "what was not kept does not come back"
                );
                assert_eq!(again.view().has_elsewhere(name), kept.view().has_elsewhere(name));
            }
        });
    }

    #[test]
    fn what_holds_a_claim_that_is_read_is_not_read_by_another_name() {
        let all = json!({ "a.b": { "c": "yes" }, "a.b.c": "no" });
        let all = Held::All(all.as_object().unwrap().clone());
        let kept = all.keep(&["a.b"].into_iter().collect());
        assert_eq!(kept.view().get("a.b"), Some(&json!({ "c": "yes" })));
        assert_eq!((all.view().get("a.b.c"), kept.view().get("a.b.c")), (Some(&json!("no")), None));
    }

    #[test]
    fn a_claim_that_stands_elsewhere_is_told_from_one_that_nobody_has() {
        let elsewhere = |claims: Value, name: &str| {
            let all = Held::All(claims.as_object().unwrap().clone());
            let kept = all.keep(&[name].into_iter().collect());
            let told = [all.view().has_elsewhere(name), kept.view().has_elsewhere(name)];
            assert_eq!(told[0], told[1], "{name} of {claims}");
            told[0]
        };
        let entra = json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://x" } } });
        for (claims, name, expected) in [
            (entra.clone(), "groups", true),
            (entra.clone(), "groups.a", true),
            (entra.clone(), "roles", false),
            (entra.clone(), "a.groups", false),
            (json!({ "_claim_names": { "a.b": "s" } }), "a.b.c", true),
            (json!({ "_claim_names": { "a.b": "s" } }), "a", false),
            // What is here counts, whatever is said of it.
            (json!({ "_claim_names": { "groups": "src1" }, "groups": ["a"] }), "groups", false),
            (json!({ "_claim_names": { "a": "src1" }, "a": { "b": 1 } }), "a.b", false),
            (json!({ "_claim_names": { "a": "src1" }, "a": { "b": 1 } }), "a.c", true),
            (json!({ "hasgroups": true }), "groups", true),
            (json!({ "hasgroups": "true" }), "groups", true),
            (json!({ "hasgroups": false }), "groups", false),
            (json!({ "hasgroups": true }), "roles", false),
            (json!({ "hasgroups": true, "groups": [] }), "groups", false),
            (json!({ "_claim_names": ["groups"] }), "groups", false),
            (json!({ "_claim_names": "groups" }), "groups", false),
            (json!({}), "groups", false),
        ] {
            assert_eq!(elsewhere(claims.clone(), name), expected, "{name} of {claims}");
        }
        assert_eq!(size_of::<Place>(), size_of::<Value>());
    }

    #[test]
    fn what_is_large_counts_as_large() {
        let all = Held::All(json!({ "a": vec![json!([]); 2000], "b": 1 }).as_object().unwrap().clone());
        let [large, small, none] =
            [&["a"][..], &["b"], &[]].map(|names| all.keep(&names.iter().copied().collect()).size());
        assert!(large > small + 2000 * 60 && all.size() > large && small > none);
    }
}
