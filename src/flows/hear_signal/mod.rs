//! `POST /oauth/events`: a transmitter of shared signals reports that a session is over, that a credential
//! has changed, or that an account was suspended, enabled or purged (push delivery, RFC 8935). What its token
//! must be like and what it says is in `core::token::security_event`. Here that becomes entries of the list
//! of revocations, like an operator's, or lifts one ([`accounts`]).
//!
//! A named session is refused outright. For a named person, everything is refused that began up to the time
//! of the event or, within the clock skew, up to its arrival (a clock that is ahead dates tokens ahead, too).
//! So a late event ends nothing that began after it.
//!
//! It must never answer before what follows is durable, nor note the token as received before that: a
//! transmitter that got a 503 sends it again. A token that was already received is answered as at first, and
//! changes nothing (RFC 8935 section 2).
//!
//! Anybody may send requests here: unknown keys, sizes and refusals are limited like those of access tokens.
//!
//! Tested in `src/flows/tests/hear_signal.rs`, against an authorization server of its own.

mod accounts;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::config::settings::Signal;
use crate::core::denial::Denial;
use crate::core::ids::SignalName;
use crate::core::request::RequestHead;
use crate::core::revocation::{Kind, Revocation, Rule, Target, Whose};
use crate::core::secret::Secret;
use crate::core::session::oauth::request::media_type;
use crate::core::time::Timestamp;
use crate::core::token::bearer::{Carried, Scheme, carried};
use crate::core::token::jwt::Unverified;
use crate::core::token::security_event::event::{Event, EventType, Follows, StreamStatus};
use crate::core::token::security_event::subject::Named;
use crate::core::token::security_event::{Code, Plausible, RefusedEvent, VerifiedSecurityEvent};
use crate::flows::heard::{Once, audit, check_signer, is_of_a_browser, names_people};
use crate::flows::keep_keys_fresh::{Means, keys_for_one_time_message};
use crate::flows::ports::StoreFault;
use crate::flows::revoke::{carry_out, hold};
use crate::flows::{Gate, brake};
use crate::state::live::Live;
use crate::state::metrics::SignalResult;
use crate::state::transmitters::Transmitter;
use accounts::Account;

/// How long a received token is remembered, so that it is carried out once. Carrying it out again later
/// changes nothing but when entries end.
const HEARD_KEPT_FOR: Duration = Duration::from_secs(86_400);

/// A received signal, for the log.
#[derive(Debug)]
pub struct HeardSignal {
    pub signal: SignalName,
    /// The subject, if it is one person.
    pub subject: Option<String>,
}

/// The longest body that can hold a token, in bytes.
pub fn body_limit(live: &Live) -> usize {
    live.settings.limits.token
}

/// Carries out the token in the body. `body` is whole and within its limit.
///
/// # Errors
/// `SecurityEventRefused` (400); `TooManyDenials` (429) before work for who had too many; `KeysUnavailable`,
/// `KeyNotKnownYet`, `StoreUnavailable` or `RevocationsUnavailable` (503) when it is to be sent again.
pub async fn hear_signal(
    gate: &Arc<Gate>,
    live: &Live,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<HeardSignal, Denial> {
    let text = text_of(head.headers, body).map_err(Denial::SecurityEventRefused)?;
    let now = gate.clock.now();
    let (heard, transmitter) = verify(gate, live, head, text, now).await?;
    let word = Word { gate, live, head, signal: &transmitter.settings, now };
    word.obey(&heard).await.map_err(|fault| unavailable(&fault))?;
    transmitter.mark_heard(now);
    Ok(HeardSignal {
        signal: transmitter.settings.name.clone(),
        subject: heard.events().iter().find_map(|event| subject_of(&event.follows)),
    })
}

/// RFC 8935 section 2.1.
fn text_of<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<&'b str, RefusedEvent> {
    let invalid = |why| Err(RefusedEvent::new(Code::InvalidRequest, why));
    if is_of_a_browser(headers) {
        return invalid("A transmitter sends its tokens itself, not through a browser.");
    }
    if !media_type(headers).eq_ignore_ascii_case("application/secevent+jwt") {
        return invalid("Content-Type must be application/secevent+jwt.");
    }
    std::str::from_utf8(body).or_else(|_| invalid("The body is no token."))
}

async fn verify<'l>(
    gate: &Gate,
    live: &'l Live,
    head: &RequestHead<'_>,
    text: &str,
    now: Timestamp,
) -> Result<(VerifiedSecurityEvent, &'l Transmitter), Denial> {
    let refused = Denial::SecurityEventRefused;
    let unverified = Unverified::parse(text, live.settings.limits.token);
    let unverified = unverified.map_err(|failed| refused(failed.into()))?;
    let transmitter = live.transmitters.by_iss(unverified.iss());
    let transmitter = transmitter.ok_or_else(|| refused(Denial::UnknownIssuer.into()))?;
    let signal = &transmitter.settings;
    brake::before_work(gate, live, head.client_address, now)?;
    if !is_proven(head.headers, signal) {
        let why = "Authorization must be Bearer, with the token that this transmitter was given.";
        return Err(refused(RefusedEvent::new(Code::AuthenticationFailed, why)));
    }
    let plausible = Plausible::check(unverified, &signal.rules, now).map_err(refused)?;
    let keys = keys_for_one_time_message(Means::of(gate), &transmitter.signer, now, |keys| {
        plausible.key_is_known(keys)
    })
    .await;
    let keys = keys.map_err(|denial| match denial {
        Denial::UnknownKey => refused(denial.into()),
        unavailable => unavailable,
    })?;
    let heard = plausible.prove(&keys).map_err(refused)?.read().map_err(|wrong| {
        // A genuine transmitter's token is refused, so nothing comes of it.
        let (signal, err) = (&signal.name, wrong.code.name());
        tracing::warn!(%signal, err, why = wrong.why, "a shared signal was refused although its transmitter made it");
        refused(wrong)
    })?;
    check_signer(gate, &signal.rules.iss, heard.kid(), now).map_err(|denial| match denial {
        Denial::Revoked => refused(denial.into()),
        unavailable => unavailable,
    })?;
    Ok((heard, transmitter))
}

/// Compared in constant time.
fn is_proven(headers: &HeaderMap, signal: &Signal) -> bool {
    let Some(token) = &signal.token else { return true };
    match carried(headers, None) {
        Ok(Some(Carried::Authorization(Scheme::Bearer, sent))) => {
            Secret::new(sent.bytes().to_vec()) == *token
        }
        _ => false,
    }
}

/// A verified token of a transmitter.
struct Word<'a> {
    gate: &'a Arc<Gate>,
    live: &'a Live,
    head: &'a RequestHead<'a>,
    signal: &'a Signal,
    now: Timestamp,
}

impl Word<'_> {
    async fn obey(&self, heard: &VerifiedSecurityEvent) -> Result<(), StoreFault> {
        let once = Once::of("signal", self.iss(), heard.id());
        let is_idle = |event: &Event| matches!(event.follows, Follows::Nothing | Follows::Stream(_));
        // Events that change nothing need no store, so that a transmitter can verify its stream at any time.
        let changes = !heard.events().iter().all(is_idle);
        if changes && once.is_spent(self.gate).await? {
            heard.events().iter().for_each(|event| self.count(event.kind, SignalResult::Repeated));
            return Ok(());
        }
        for event in heard.events() {
            let result = self.obey_one(event).await?;
            self.count(event.kind, result);
        }
        if changes { once.spend(self.gate, HEARD_KEPT_FOR).await } else { Ok(()) }
    }

    async fn obey_one(&self, event: &Event) -> Result<SignalResult, StoreFault> {
        match &event.follows {
            Follows::Over { sessions, everything_of } => {
                let sessions = sessions.iter().map(|named| self.revocation(event, Kind::Sid, named));
                let people = everything_of.iter().map(|named| self.revocation(event, Kind::Sub, named));
                let all: Vec<_> = sessions.chain(people).collect();
                carry_out(self.gate, &all).await?;
                all.iter().for_each(|revocation| self.audit(event, "revoked", revocation));
                Ok(SignalResult::Applied)
            }
            Follows::Disabled(person) => accounts::change(self, event, person, Account::Disabled).await,
            Follows::Enabled(person) => accounts::change(self, event, person, Account::Enabled).await,
            Follows::Purged(person) => accounts::change(self, event, person, Account::Purged).await,
            Follows::Stream(status) => {
                self.tell_of_stream(*status);
                Ok(SignalResult::Acknowledged)
            }
            Follows::Nothing if event.kind == EventType::Verification => Ok(SignalResult::Acknowledged),
            Follows::Nothing => Ok(SignalResult::Ignored),
        }
    }

    fn revocation(&self, event: &Event, kind: Kind, named: &Named) -> Revocation {
        let target = Target { kind, whose: Whose::Of(named.iss.clone()), value: named.value.clone() };
        let rule = match kind {
            Kind::Sid => Rule::Outright,
            _ => Rule::Before(self.now.clamp(event.at, event.at.plus(self.signal.rules.clock_skew))),
        };
        Revocation {
            until: Some(hold(self.live, &target).ends(self.now)),
            made_by: Some(self.iss().to_owned()),
            reason: Some(reason(event)),
            ..Revocation::new(target, rule, self.now)
        }
    }

    fn iss(&self) -> &str {
        &self.signal.rules.iss
    }

    fn count(&self, event: EventType, result: SignalResult) {
        self.gate.metrics.signal_heard(&self.signal.name, event, result);
    }

    /// Logs a change. An opaque subject may be a person's, and a transmitter's reason may name one.
    fn audit(&self, event: &Event, what: &str, revocation: &Revocation) {
        if names_people(self.live) {
            let value = Some(revocation.target.value.as_str());
            audit(self.head, what, revocation, value, revocation.reason.as_deref());
        } else {
            audit(self.head, what, revocation, None, Some(event.kind.name()));
        }
    }

    fn tell_of_stream(&self, status: Option<StreamStatus>) {
        let (signal, said) = (&self.signal.name, said_of_stream(status));
        if status == Some(StreamStatus::Enabled) {
            tracing::info!(%signal, "{said}");
        } else {
            tracing::warn!(%signal, "{said}");
        }
    }
}

/// The reported status, in words.
const fn said_of_stream(status: Option<StreamStatus>) -> &'static str {
    match status {
        Some(StreamStatus::Enabled) => "a transmitter of shared signals sends again",
        Some(StreamStatus::Paused) => {
            "a transmitter of shared signals sends nothing from here on: its stream was paused"
        }
        Some(StreamStatus::Disabled) => {
            "a transmitter of shared signals sends nothing from here on: its stream was disabled"
        }
        None => {
            "a transmitter of shared signals says that its stream has changed, and not to what, or nothing that is known: look \
             there whether it still sends"
        }
    }
}

/// The reason of an entry: the event, who caused it and why, as far as the token says.
fn reason(event: &Event) -> String {
    match &event.reason {
        None => event.kind.name().to_owned(),
        Some(why) => format!("{} {why}", event.kind.name()),
    }
}

fn subject_of(follows: &Follows) -> Option<String> {
    match follows {
        Follows::Over { everything_of, .. } => everything_of.first().map(|named| named.value.clone()),
        Follows::Disabled(named) | Follows::Enabled(named) | Follows::Purged(named) => {
            Some(named.value.clone())
        }
        Follows::Stream(_) | Follows::Nothing => None,
    }
}

fn unavailable(fault: &StoreFault) -> Denial {
    tracing::error!(%fault, "a shared signal cannot be written down; its transmitter was told to send it again");
    Denial::StoreUnavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_nothing_is_told_that_its_transmitter_did_not_say() {
        let ends = |status| said_of_stream(status).contains("sends nothing from here on");
        assert!(ends(Some(StreamStatus::Paused)) && ends(Some(StreamStatus::Disabled)));
        assert!(!ends(Some(StreamStatus::Enabled)) && !ends(None));
    }
}
