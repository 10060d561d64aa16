//! Takes access back: what an operator asks for becomes an entry of the list of revocations, and takes effect
//! on what was already handed out.
//!
//! First the entry is stored durably. From then on every request, refresh and sign-in that it names is
//! refused: here at once, on every replica within a second. Then the sessions that it names are ended in the
//! store, and the access tokens that they handed out are added to the list one by one, because a token need
//! not say which session it came from.
//!
//! It must never answer that something was taken back before that is durable. Asking again does no harm.
//!
//! - `blocks`: writes entries beside what others hold of the same
//! - `reach`: which sessions a revocation names
//! - `naming`: puts the access tokens that a session handed out into the list
//! - `session_end`: ends one session in the store, and says what is left to be revoked because of it
//! - `second_look`: looks for the sessions of an entry once more, and for an entry that may still come
//!
//! Tested in `src/flows/tests/revoke.rs`, against an authorization server of its own.

pub(in crate::flows) mod blocks;
pub(in crate::flows) mod naming;
pub(in crate::flows) mod reach;
pub(in crate::flows) mod second_look;
pub(in crate::flows) mod session_end;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::RegisteredClient;
use crate::core::ids::FamilyId;
use crate::core::ids::IssuerName;
use crate::core::revocation::wanted::{KnownIssuers, Mistake, Wanted};
use crate::core::revocation::{Change, Hold, Kind, Revocation, RevocationId, Rule, Target, Whose};
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::backoff::Backoff;
use crate::flows::ports::StoreFault;
use crate::state::live::Live;
use blocks::{TRIES, see, too_often};
pub(in crate::flows) use naming::{name_session, name_signed_out, name_tokens, name_tokens_in_background};

/// Pauses between attempts at work that nobody waits for.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10) };

/// Why a revocation failed, or was carried out only in part.
#[derive(Debug)]
pub enum RevokeError {
    /// The index of each wrong entry, and what is wrong with it. Nothing was done.
    Mistakes(Vec<(usize, Mistake)>),
    /// The store failed. Some of it may have been done; ask again later.
    Store(StoreFault),
}

impl From<StoreFault> for RevokeError {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}

/// Takes back all that is `wanted`, or nothing if any of it is wrong. `by`: who asks. Returns the resulting
/// entries: a block also with its other holders.
///
/// # Errors
/// Mistakes; or the store failed.
pub async fn revoke(
    gate: &Arc<Gate>,
    wanted: Vec<Wanted>,
    by: Option<String>,
) -> Result<Vec<Revocation>, RevokeError> {
    let live = gate.live.load_full();
    let now = gate.clock.now();
    let revocations = read(&live, wanted, now, by).map_err(RevokeError::Mistakes)?;
    let made = blocks::add(gate, &revocations, now).await;
    let made = made.inspect_err(|fault| end_where_made(gate, fault, &revocations))?;
    end_named(gate, &made).await?;
    Ok(made)
}

/// Adds these entries, of which none is a block, and ends the sessions that they name.
///
/// # Errors
/// The store failed; some of it may have been done.
pub(in crate::flows) async fn carry_out(
    gate: &Arc<Gate>,
    revocations: &[Revocation],
) -> Result<(), StoreFault> {
    let changes: Vec<_> = revocations.iter().cloned().map(Change::Add).collect();
    let made = gate.revocation_log.append(&changes).await;
    made.inspect_err(|fault| end_where_made(gate, fault, revocations))?;
    end_named(gate, revocations).await
}

/// Ends the sessions that these entries name, and looks for more of them later.
///
/// # Errors
/// The store failed. The sessions are looked for again, for as long as it is away.
pub(in crate::flows) async fn end_named(
    gate: &Arc<Gate>,
    revocations: &[Revocation],
) -> Result<(), StoreFault> {
    end_later(gate, revocations);
    end_now(gate, revocations).await
}

/// Ends the sessions that these entries name, and looks for no more of them later.
///
/// # Errors
/// The store failed.
pub(in crate::flows) async fn end_now(gate: &Gate, revocations: &[Revocation]) -> Result<(), StoreFault> {
    let targets: Vec<_> = revocations.iter().filter(|entry| ends_sessions(entry)).cloned().collect();
    end_sessions(gate, &targets).await
}

/// Looks for the sessions that these entries name a moment later, and ends them, for as long as the store is
/// away. If a look at an entry is already due, it happens once more.
pub(in crate::flows) fn end_later(gate: &Arc<Gate>, revocations: &[Revocation]) {
    second_look::leave(gate, revocations, true);
}

/// Ends the sessions of entries that the list did not confirm but may have, or may yet have: nobody may ask
/// again.
pub(in crate::flows) fn end_where_made(gate: &Arc<Gate>, fault: &StoreFault, revocations: &[Revocation]) {
    match fault {
        StoreFault::NotHereYet | StoreFault::Deadline | StoreFault::Unfinished(_) => {
            second_look::leave(gate, revocations, false);
        }
        // Nothing was written. And every request during an outage would leave an errand.
        StoreFault::Unavailable(_) | StoreFault::Unreadable(_) => {}
    }
}

/// Lifts a revocation, and returns it as it was then: a block with all of its holders, a watermark with its
/// time. A holder or a later time that was added meanwhile is not lifted. Sessions that it ended stay ended.
///
/// # Errors
/// The store failed.
pub async fn lift(gate: &Gate, id: RevocationId) -> Result<Option<Revocation>, StoreFault> {
    for _ in 0..TRIES {
        let seen = see(gate, id).await?;
        let Some(known) = seen.entry.clone() else { return Ok(None) };
        if gate.revocation_log.append_if(&[seen], &[Change::Lift(known.clone())]).await? {
            return Ok(Some(known));
        }
    }
    Err(too_often())
}

fn read(
    live: &Live,
    wanted: Vec<Wanted>,
    now: Timestamp,
    by: Option<String>,
) -> Result<Vec<Revocation>, Vec<(usize, Mistake)>> {
    let all = live.settings.issuers.iter().map(|issuer| (issuer.name.as_str(), issuer.rules.iss.as_str()));
    let rules = live.settings.issuers.iter().map(|issuer| &issuer.rules);
    let also =
        rules.flat_map(|rules| rules.access_token_iss.iter().map(|said| (said.as_str(), rules.iss.as_str())));
    let issuers = KnownIssuers { all: all.collect(), also: also.collect() };
    let (mut revocations, mut mistakes) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (at, wanted) in wanted.into_iter().enumerate() {
        match wanted.read(&issuers, |target| hold(live, target), now, by.clone()) {
            Ok(revocation) => revocations.push(revocation),
            Err(wrong) => mistakes.extend(wrong.into_iter().map(|mistake| (at, mistake))),
        }
    }
    if mistakes.is_empty() { Ok(revocations) } else { Err(mistakes) }
}

/// A warning for the operator if a value is the name of a client in config.yaml: tokens name a client by its
/// `client_id`, so the entry may refuse nothing. It may also be another application's id, so the entry is
/// made all the same.
pub fn doubt(live: &Live, target: &Target) -> Option<String> {
    let is_concerned = |issuer: &IssuerName| match &target.whose {
        Whose::All => true,
        Whose::Of(iss) => {
            live.issuers.by_name(issuer).is_some_and(|issuer| issuer.settings.rules.iss == *iss)
        }
    };
    let mut concerned = live.settings.registered_clients().filter(|client| is_concerned(client.issuer));
    if target.kind != Kind::Client || concerned.clone().any(|client| client.client_id == target.value) {
        return None;
    }
    let RegisteredClient { name, client_id, .. } =
        concerned.find(|client| client.name.as_str() == target.value)?;
    Some(format!(
        "no client of config.yaml has this client_id; tokens call the one that is named {name} there {client_id}"
    ))
}

/// How long tokens and sessions that this names can live.
pub(in crate::flows) fn hold(live: &Live, target: &Target) -> Hold {
    let concerns = |iss: &str| match (&target.whose, target.kind) {
        (Whose::Of(whose), _) => whose == iss,
        (Whose::All, Kind::Issuer) => target.value == iss,
        (Whose::All, _) => true,
    };
    let settings = &live.settings;
    let issuers = || settings.issuers.iter().filter(|issuer| concerns(&issuer.rules.iss));
    let longest_token = issuers().map(|issuer| issuer.rules.max_token_lifetime).max().unwrap_or_default();
    let skew = issuers().map(|issuer| issuer.rules.clock_skew).max().unwrap_or_default();
    let sessions =
        settings.clients.iter().filter(|client| issuers().any(|issuer| issuer.name == client.issuer));
    let longest_session = sessions.map(|client| client.absolute_timeout).max().unwrap_or_default();
    Hold::new(longest_token, longest_session, skew)
}

/// Whether it names sessions that can be found.
const fn ends_sessions(revocation: &Revocation) -> bool {
    matches!(revocation.target.kind, Kind::Sid | Kind::Sub | Kind::Client | Kind::Family)
}

/// Keeps the first fault of several steps. Later steps are carried out all the same: one unreadable record
/// must not keep a person's other sessions from being ended.
#[derive(Default)]
struct FirstFault(Option<StoreFault>);

impl FirstFault {
    /// Notes a step's outcome. Returns whether to go on: not after a deadline, because every call to a
    /// hanging store takes that long.
    fn note(&mut self, told: Result<(), StoreFault>) -> bool {
        let Err(fault) = told else { return true };
        let hangs = fault == StoreFault::Deadline;
        self.0.get_or_insert(fault);
        !hangs
    }

    fn into_result(self) -> Result<(), StoreFault> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Ends the sessions that these entries name, and puts the access tokens that they handed out into the list.
/// A session that began after a revocation's time goes on.
async fn end_sessions(gate: &Gate, revocations: &[Revocation]) -> Result<(), StoreFault> {
    let live = gate.live.load_full();
    let (mut ended, mut faults) = (BTreeSet::new(), FirstFault::default());
    for revocation in revocations {
        if !faults.note(end_sessions_of(gate, &live, revocation, &mut ended).await) {
            break;
        }
    }
    faults.into_result()
}

/// The same for one entry. `ended`: the sessions that were ended before, and by which time.
async fn end_sessions_of(
    gate: &Gate,
    live: &Live,
    revocation: &Revocation,
    ended: &mut BTreeSet<(FamilyId, Option<i64>)>,
) -> Result<(), StoreFault> {
    let (families, told) = match (revocation.target.kind, FamilyId::parse(&revocation.target.value)) {
        (Kind::Family, family) => (family.into_iter().collect(), Ok(())),
        _ => reach::families(gate, live, &revocation.target).await,
    };
    let mut faults = FirstFault::default();
    let mut goes_on = faults.note(told);
    let before = match revocation.rule {
        Rule::Before(before) => Some(before),
        Rule::Outright | Rule::Block => None,
    };
    let mut over = BTreeSet::new();
    for family in families {
        if !goes_on {
            break;
        }
        if ended.insert((family, before.map(Timestamp::as_secs))) {
            goes_on = faults.note(end_and_name(gate, family, before, &mut over).await);
        }
    }
    reach::forget_ended(gate, live, &revocation.target, &over).await;
    faults.into_result()
}

async fn end_and_name(
    gate: &Gate,
    family: FamilyId,
    before: Option<Timestamp>,
    over: &mut BTreeSet<FamilyId>,
) -> Result<(), StoreFault> {
    if let Some(issued) = reach::end(reach::shared(gate), &*gate.clock, family, before).await? {
        name_tokens(gate, &issued).await?;
        over.insert(family);
    }
    Ok(())
}

/// Adds an entry for everything of this person up to now, on every device. The sessions are still to be ended
/// ([`end_now`] and [`end_later`]).
///
/// # Errors
/// The list cannot be written now.
pub(in crate::flows) async fn name_everything(
    gate: &Arc<Gate>,
    live: &Live,
    iss: &str,
    subject: &str,
) -> Result<Revocation, StoreFault> {
    let now = gate.clock.now();
    let target = person(Whose::Of(iss.to_owned()), subject);
    let revocation = Revocation {
        until: Some(hold(live, &target).ends(now)),
        reason: Some("signed out everywhere".to_owned()),
        ..Revocation::new(target, Rule::Before(now), now)
    };
    let made = gate.revocation_log.append(&[Change::Add(revocation.clone())]).await;
    made.inspect_err(|fault| end_where_made(gate, fault, std::slice::from_ref(&revocation)))?;
    Ok(revocation)
}

/// The entries for this person with a time of `since` or later.
///
/// # Errors
/// The list cannot be read now.
pub(in crate::flows) async fn watermarks_of(
    gate: &Gate,
    iss: &str,
    subject: &str,
    since: Timestamp,
) -> Result<Vec<Revocation>, StoreFault> {
    let mut named = Vec::new();
    for whose in [Whose::Of(iss.to_owned()), Whose::All] {
        let id = Revocation::new(person(whose, subject), Rule::Before(since), since).id();
        named.extend(gate.revocation_log.find(id).await?);
    }
    let now = gate.clock.now();
    named.retain(|entry| entry.reaches(since, now));
    Ok(named)
}

fn person(whose: Whose, subject: &str) -> Target {
    Target { kind: Kind::Sub, whose, value: subject.to_owned() }
}
