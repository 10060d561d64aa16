//! What a SET says happened: OpenID CAEP 1.0 section 3, RISC 1.0 section 2, SSF 1.0 sections 8.1.4 and 8.1.5.
//! Events of other types are no mistake: a stream may have been asked for more than is used here.
//!
//! When it happened: `event_timestamp` (CAEP section 2), else `toe` (RFC 8417 section 2.2), if within the
//! month before the SET's `iat` or in the same second (either may lack fractions); else `iat`, which is later
//! and so reaches more. It is a moment of the transmitter's clock, which may be ahead of ours by
//! `clock_skew`; by it two of its words are put in order.

use serde_json::{Map, Value};

use super::subject::{Named, Subject};
use super::{Code, MEMORY, RefusedEvent, SignalRules};
use crate::core::time::Timestamp;
use crate::core::token::verified::date;

/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 200;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    SessionRevoked,
    CredentialChange,
    AccountDisabled,
    AccountEnabled,
    AccountPurged,
    SessionsRevoked,
    /// The transmitter asks whether anybody listens.
    Verification,
    StreamUpdated,
    /// Any that is not used here.
    Other,
}

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";
/// SSF, in drafts before it was called so.
const SSE: &str = "https://schemas.openid.net/secevent/sse/event-type/";

impl EventType {
    /// Those by which something is taken back or given again.
    pub const USED: [Self; 6] = [
        Self::SessionRevoked,
        Self::CredentialChange,
        Self::AccountDisabled,
        Self::AccountEnabled,
        Self::AccountPurged,
        Self::SessionsRevoked,
    ];

    /// Its name in config.yaml and in metrics: the end of its URI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionRevoked => "session-revoked",
            Self::CredentialChange => "credential-change",
            Self::AccountDisabled => "account-disabled",
            Self::AccountEnabled => "account-enabled",
            Self::AccountPurged => "account-purged",
            Self::SessionsRevoked => "sessions-revoked",
            Self::Verification => "verification",
            Self::StreamUpdated => "stream-updated",
            Self::Other => "other",
        }
    }

    fn of(uri: &str) -> Self {
        let is = |family: &str, name: Self| uri.strip_prefix(family) == Some(name.name());
        let caep = [Self::SessionRevoked, Self::CredentialChange].into_iter().find(|name| is(CAEP, *name));
        let risc = [
            Self::AccountDisabled,
            Self::AccountEnabled,
            Self::AccountPurged,
            Self::SessionsRevoked,
            Self::Verification,
        ];
        let risc = || risc.into_iter().find(|name| is(RISC, *name));
        let of_stream = || {
            let all = [Self::Verification, Self::StreamUpdated];
            all.into_iter().find(|name| is(SSF, *name) || is(SSE, *name))
        };
        caep.or_else(risc).or_else(of_stream).unwrap_or(Self::Other)
    }
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// These are over; at least one.
    Over {
        sessions: Vec<Named>,
        everything_of: Vec<Named>,
    },
    /// The account is suspended.
    Disabled(Named),
    /// The account is suspended no longer.
    Enabled(Named),
    /// The account is gone for good.
    Purged(Named),
    /// The stream itself has another status, as far as the event says which.
    Stream(Option<StreamStatus>),
    Nothing,
}

/// SSF 1.0 section 8.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    Enabled,
    Paused,
    Disabled,
}

/// One event of a SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventType,
    pub follows: Follows,
    /// When it happened, by the transmitter's clock: in the future by `clock_skew` at most.
    pub at: Timestamp,
    /// Who or what made it happen, in the transmitter's words.
    pub reason: Option<String>,
}

/// All events of a SET.
pub(super) fn read(
    claims: &Map<String, Value>,
    rules: &SignalRules,
    issued_at: Timestamp,
) -> Result<Vec<Event>, RefusedEvent> {
    let events = claims.get("events").and_then(Value::as_object);
    let mut read = Vec::new();
    for (uri, payload) in events.into_iter().flatten() {
        let kind = EventType::of(uri);
        let Some(payload) = payload.as_object() else {
            if kind == EventType::Other {
                read.push(Event { kind, follows: Follows::Nothing, at: issued_at, reason: None });
                continue;
            }
            return Err(RefusedEvent::invalid("An event must be an object (RFC 8417 section 2.2)."));
        };
        if EventType::USED.contains(&kind) && !rules.events.contains(&kind) {
            return Err(RefusedEvent::new(
                Code::AccessDenied,
                "This transmitter may not use this type of event.",
            ));
        }
        let follows = follows(kind, claims, payload, rules)?;
        let at = happened_at(claims, payload, issued_at);
        read.push(Event { kind, follows, at, reason: reason(payload) });
    }
    let has = |kind: EventType| read.iter().any(|event| event.kind == kind);
    let is_shut_out = has(EventType::AccountDisabled) || has(EventType::AccountPurged);
    if is_shut_out && has(EventType::AccountEnabled) {
        return Err(RefusedEvent::invalid(
            "The token says that an account is enabled, and that it is disabled or purged.",
        ));
    }
    Ok(read)
}

fn follows(
    kind: EventType,
    claims: &Map<String, Value>,
    payload: &Map<String, Value>,
    rules: &SignalRules,
) -> Result<Follows, RefusedEvent> {
    let subject = || Subject::read(claims, payload, rules);
    Ok(match kind {
        EventType::SessionRevoked => {
            let (sessions, everything_of) = subject()?.sessions();
            if sessions.is_empty() && everything_of.is_empty() {
                return Err(RefusedEvent::invalid("The event names neither a session nor a user."));
            }
            Follows::Over { sessions, everything_of }
        }
        EventType::CredentialChange if !takes_credential_away(payload)? => Follows::Nothing,
        EventType::CredentialChange | EventType::SessionsRevoked => {
            Follows::Over { sessions: Vec::new(), everything_of: vec![subject()?.person()?] }
        }
        EventType::AccountDisabled => Follows::Disabled(subject()?.account()?),
        EventType::AccountEnabled => Follows::Enabled(subject()?.account()?),
        EventType::AccountPurged => Follows::Purged(subject()?.account()?),
        EventType::StreamUpdated => {
            let status = payload.get("status").and_then(Value::as_str);
            Follows::Stream(status.and_then(|status| match status {
                "enabled" => Some(StreamStatus::Enabled),
                "paused" => Some(StreamStatus::Paused),
                "disabled" => Some(StreamStatus::Disabled),
                _ => None,
            }))
        }
        EventType::Verification | EventType::Other => Follows::Nothing,
    })
}

/// CAEP 1.0 section 3.3: a credential that is new takes nothing away.
fn takes_credential_away(payload: &Map<String, Value>) -> Result<bool, RefusedEvent> {
    match payload.get("change_type").and_then(Value::as_str) {
        Some("revoke" | "delete" | "update") => Ok(true),
        Some("create") => Ok(false),
        _ => Err(RefusedEvent::invalid(
            "The event's change_type is none of create, revoke, update and delete.",
        )),
    }
}

fn happened_at(claims: &Map<String, Value>, payload: &Map<String, Value>, issued_at: Timestamp) -> Timestamp {
    let said = date(payload, "event_timestamp").ok().flatten();
    let said = said.or_else(|| date(claims, "toe").ok().flatten());
    let is_sensible = |at: &Timestamp| *at >= issued_at.minus(MEMORY) && at.as_secs() <= issued_at.as_secs();
    said.filter(is_sensible).unwrap_or(issued_at)
}

/// `initiating_entity` and `reason_admin` of CAEP section 2, `reason` of RISC section 2.3: for people, so
/// without what a terminal would obey.
fn reason(payload: &Map<String, Value>) -> Option<String> {
    let by = payload.get("initiating_entity").and_then(Value::as_str);
    let why = match payload.get("reason_admin").or_else(|| payload.get("reason")) {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(Value::Object(words)) => {
            let word = words.get("en").or_else(|| words.values().next());
            word.and_then(Value::as_str)
        }
        _ => None,
    };
    let parts = by.map(|by| format!("by {by}")).into_iter().chain(why.map(ToOwned::to_owned));
    let all = parts.collect::<Vec<_>>().join(": ");
    let shown: String = all.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    (!shown.is_empty()).then_some(shown)
}
