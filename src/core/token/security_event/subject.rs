//! Whom an event is about: Subject Identifiers (RFC 9493) and complex subjects (SSF 1.0 section 3). The
//! primary subject is `sub_id` of the SET; before it was, it stood as `subject` in the event, where some
//! transmitters still put it (SSF section 3.1.1 allows that beside), with `subject_type: iss-sub` (RISC 1.0
//! section 3.1). Where both are there both must say the same.
//!
//! A name without an issuer (`opaque`) means somebody only where the transmitter has a say over the subjects
//! of one issuer alone.
//!
//! It must never reach less than the transmitter may have meant. Nobody promises that its session names are
//! the `sid` of the issuer's tokens: where a user is named beside a session, all of the user's sessions end.

use serde_json::{Map, Value};

use super::{Code, RefusedEvent, SignalRules, identifier};

/// Whom an event is about: a subject of one of the issuers that its transmitter has a say over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub iss: String,
    /// Never empty.
    pub value: String,
}

/// Whom, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// What is named without saying what it is.
    something: Option<Named>,
    person: Option<Named>,
    session: Option<Named>,
    /// Not all of the person: on a device, in an application.
    is_narrowed: bool,
}

/// Members of a complex subject that leave a person whole (SSF section 3.3): what they belong to.
const AROUND: [&str; 4] = ["format", "subject_type", "tenant", "org_unit"];

const NO_PERSON: RefusedEvent = RefusedEvent::invalid("The event's subject names no user.");

impl Subject {
    pub(super) fn read(
        claims: &Map<String, Value>,
        payload: &Map<String, Value>,
        rules: &SignalRules,
    ) -> Result<Self, RefusedEvent> {
        let of = |value: Option<&Value>| value.map(|value| Self::of(value, rules)).transpose();
        match (of(claims.get("sub_id"))?, of(payload.get("subject"))?) {
            (Some(one), Some(other)) if one != other => {
                Err(RefusedEvent::invalid("sub_id and the subject of the event name different subjects."))
            }
            (Some(subject), _) | (None, Some(subject)) => Ok(subject),
            (None, None) => Err(RefusedEvent::invalid("The token has no sub_id.")),
        }
    }

    fn of(value: &Value, rules: &SignalRules) -> Result<Self, RefusedEvent> {
        let members = value.as_object().ok_or(RefusedEvent::invalid("A subject must be an object."))?;
        match format_of(members) {
            Some("complex") => Self::complex(members, rules),
            // Before it had a name.
            None if ["user", "session"].iter().any(|name| members.contains_key(*name)) => {
                Self::complex(members, rules)
            }
            Some("opaque") => Ok(Self { something: Some(simple(members, rules)?), ..Self::default() }),
            _ => Ok(Self { person: Some(simple(members, rules)?), ..Self::default() }),
        }
    }

    fn complex(members: &Map<String, Value>, rules: &SignalRules) -> Result<Self, RefusedEvent> {
        let mut subject = Self::default();
        for (name, value) in members {
            let read = || {
                let member = value.as_object();
                simple(member.ok_or(RefusedEvent::invalid("A subject must be an object."))?, rules)
            };
            match name.as_str() {
                "user" => subject.person = Some(read()?),
                "session" => subject.session = Some(read()?),
                other => subject.is_narrowed |= !AROUND.contains(&other),
            }
        }
        Ok(subject)
    }

    /// Which sessions are over, and of whom all are. A simple opaque subject of a session is its name (CAEP
    /// section 3.1.2); nothing says that it is not a user's.
    pub(super) fn sessions(self) -> (Vec<Named>, Vec<Named>) {
        let sessions = self.session.into_iter().chain(self.something.clone());
        let everything_of = self.person.into_iter().chain(self.something);
        (sessions.collect(), everything_of.collect())
    }

    /// The person, whatever more is said.
    pub(super) fn person(self) -> Result<Named, RefusedEvent> {
        self.person.or(self.something).ok_or(NO_PERSON)
    }

    /// The person, and all of them: an account is not suspended on one device.
    pub(super) fn account(self) -> Result<Named, RefusedEvent> {
        if self.is_narrowed || self.session.is_some() {
            return Err(RefusedEvent::invalid("The event's subject is less than an account."));
        }
        self.person()
    }
}

fn format_of(members: &Map<String, Value>) -> Option<&str> {
    members.get("format").or_else(|| members.get("subject_type")).and_then(Value::as_str)
}

/// RFC 9493 sections 3.2.3 (`iss_sub`) and 3.2.4 (`opaque`).
fn simple(members: &Map<String, Value>, rules: &SignalRules) -> Result<Named, RefusedEvent> {
    let text = |name: &str| {
        identifier(members.get(name), "iss, sub and id of a subject must be strings, and not empty.")
    };
    match format_of(members) {
        Some("iss_sub" | "iss-sub") => {
            let (iss, value) = (text("iss")?, text("sub")?);
            let iss = of_issuer(&iss, rules).ok_or(RefusedEvent::new(
                Code::AccessDenied,
                "This transmitter has no say over subjects of this issuer.",
            ))?;
            Ok(Named { iss, value })
        }
        Some("opaque") => match rules.revokes.as_slice() {
            [iss] => Ok(Named { iss: iss.clone(), value: text("id")? }),
            _ => Err(RefusedEvent::invalid(
                "An opaque subject names nobody here: this transmitter has a say over subjects of several issuers.",
            )),
        },
        _ => Err(RefusedEvent::invalid(
            "The format of a subject must be iss_sub or opaque (RFC 9493), or complex of these.",
        )),
    }
}

/// The issuer that is meant. A slash at its end tells no two issuers apart whose subjects one transmitter has
/// a say over: some write it in one place and not in another.
fn of_issuer(given: &str, rules: &SignalRules) -> Option<String> {
    let bare = |iss: &str| iss.strip_suffix('/').unwrap_or(iss).to_owned();
    let exact = rules.revokes.iter().find(|iss| *iss == given);
    let said = rules.also_called.iter().find(|(said, _)| *said == given);
    exact
        .or(said.map(|(_, iss)| iss))
        .or_else(|| rules.revokes.iter().find(|iss| bare(iss) == bare(given)))
        .cloned()
}
