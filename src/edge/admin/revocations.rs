//! `POST`, `GET /revocations` and `DELETE /revocations/{id}`. What was written is answered only once it is
//! durable, and audited: who, what, why.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::{Answer, as_json, plain};
use crate::config::settings::SubjectInLog;
use crate::core::revocation::holders::Holder;
use crate::core::revocation::wanted::{Mistake, Wanted};
use crate::core::revocation::{Kind, Revocation, RevocationId, Rule, Whose};
use crate::core::token::TokenRules;
use crate::flows::Gate;
use crate::flows::ports::{ListQuery, StoreFault};
use crate::flows::revoke::{RevokeError, doubt, lift, revoke};
use crate::state::live::Live;
use crate::state::log_targets::AUDIT;

/// How many one request may ask for.
const MOST_IN_ONE_REQUEST: usize = 1_000;
/// How many one answer lists, unless it is asked for fewer or more, and at most.
const LISTED: (usize, usize) = (100, 1_000);
/// The largest body, in bytes.
pub(super) const BODY: usize = 4 << 20;

/// Who asks: the name that came with the token, if one did, and the address.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: Option<String>,
    pub(super) address: IpAddr,
}

/// One entry, as the admin API shows it.
#[derive(Debug, Serialize)]
struct Shown<'r> {
    id: String,
    kind: &'static str,
    value: &'r str,
    /// The name of the issuer in config.yaml, its `iss` when there is none, `*` for all; absent where it
    /// belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    block: bool,
    /// Absent: it stays until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    made_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    /// Each of those who hold a block, where that is not an operator alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_by: Vec<ShownHolder>,
    /// Why it may not be what was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
}

/// One who holds a block, until when and why.
#[derive(Debug, Serialize)]
struct ShownHolder {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    made_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ShownHolder {
    fn of(holder: &Holder) -> Self {
        Self {
            name: holder.hand.name().to_owned(),
            until: holder.until.map(crate::core::time::Timestamp::to_rfc3339),
            made_at: holder.made_at.to_rfc3339(),
            reason: holder.reason.clone(),
        }
    }
}

impl<'r> Shown<'r> {
    fn of(revocation: &'r Revocation, live: &Live) -> Self {
        let Revocation { target, rule, until, made_at, made_by, reason, held_by } = revocation;
        let name = |iss: &str| match live.issuers.called(iss) {
            Some(issuer) => issuer.settings.name.as_str().to_owned(),
            None => iss.to_owned(),
        };
        Self {
            id: revocation.id().to_string(),
            kind: target.kind.label(),
            value: &target.value,
            issuer: match &target.whose {
                Whose::Of(iss) => Some(name(iss)),
                Whose::All => target.kind.is_of_an_issuer().then(|| "*".to_owned()),
            },
            before: match rule {
                Rule::Before(before) => Some(before.to_rfc3339()),
                Rule::Outright | Rule::Block => None,
            },
            block: *rule == Rule::Block,
            until: until.map(crate::core::time::Timestamp::to_rfc3339),
            made_at: made_at.to_rfc3339(),
            made_by: made_by.as_deref(),
            reason: reason.as_deref(),
            held_by: held_by.iter().map(ShownHolder::of).collect(),
            doubt: doubt(live, target),
        }
    }
}

/// Takes back what the body asks for: one, or a list of them.
pub(super) async fn add(gate: &Arc<Gate>, body: &Bytes, who: &Who) -> Answer {
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let read = if is_list {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|one: Wanted| vec![one])
    };
    let wanted: Vec<Wanted> = match read {
        Ok(wanted) => wanted,
        Err(error) => {
            return as_json(
                StatusCode::BAD_REQUEST,
                &json!({ "error": format!("the body cannot be read: {error}") }),
            );
        }
    };
    if wanted.len() > MOST_IN_ONE_REQUEST {
        let error = format!("{} at once are too many; send {MOST_IN_ONE_REQUEST} at most", wanted.len());
        return as_json(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "error": error }));
    }
    let by = who.name.clone().unwrap_or_else(|| who.address.to_string());
    match revoke(gate, wanted, Some(by)).await {
        Ok(revocations) => {
            let live = gate.live.load_full();
            revocations.iter().for_each(|made| audit(&live, who, "revoked", made));
            let shown: Vec<_> = revocations.iter().map(|made| Shown::of(made, &live)).collect();
            match shown.as_slice() {
                [one] if !is_list => as_json(StatusCode::CREATED, one),
                all => as_json(StatusCode::CREATED, &json!({ "revocations": all })),
            }
        }
        Err(RevokeError::Mistakes(mistakes)) => wrong(&mistakes),
        Err(RevokeError::Store(fault)) => away(&fault),
    }
}

fn wrong(mistakes: &[(usize, Mistake)]) -> Answer {
    let mistakes: Vec<_> = mistakes
        .iter()
        .map(|(at, Mistake { member, what })| json!({ "at": at, "member": member, "what": what }))
        .collect();
    as_json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({ "error": "nothing was revoked, because of these mistakes", "mistakes": mistakes }),
    )
}

fn away(fault: &StoreFault) -> Answer {
    tracing::error!(%fault, "the list of revocations cannot be written or read");
    let error =
        "the store is not available; whether anything was revoked is not known: ask again, that does no harm";
    let mut answer = as_json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error }));
    answer.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("2"));
    answer
}

/// Says who took what back, or gave it back, and why. The name of a person appears as the access log has it.
fn audit(live: &Live, who: &Who, did: &'static str, revocation: &Revocation) {
    let Revocation { target, until, reason, .. } = revocation;
    let is_shown = target.kind != Kind::Sub || live.settings.log.subject == SubjectInLog::Plain;
    tracing::info!(
        target: AUDIT,
        event = "audit",
        who = %who.address,
        name = who.name.as_deref(),
        id = %revocation.id(),
        kind = target.kind.label(),
        value = is_shown.then_some(target.value.as_str()),
        block = (revocation.rule == Rule::Block).then_some(true),
        until = until.map(crate::core::time::Timestamp::to_rfc3339),
        reason = reason.as_deref(),
        "{did}"
    );
}

/// A part of the list. `query`: `kind`, `value`, `issuer`, `after`, `limit`.
pub(super) async fn list(gate: &Gate, query: &str) -> Answer {
    let live = gate.live.load_full();
    let part = match part(&live, query) {
        Ok(part) => part,
        Err(error) => return as_json(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    };
    match gate.revocation_log.list(&part).await {
        Ok(listed) => {
            let shown: Vec<_> = listed.revocations.iter().map(|entry| Shown::of(entry, &live)).collect();
            let next = listed.next.map(|next| next.to_string());
            as_json(StatusCode::OK, &json!({ "revocations": shown, "next": next }))
        }
        Err(fault) => away(&fault),
    }
}

fn part(live: &Live, query: &str) -> Result<ListQuery, String> {
    let mut part = ListQuery { limit: LISTED.0, ..ListQuery::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "kind" => {
                let kinds = || Kind::ALL.map(Kind::label).join(", ");
                part.kind = Some(Kind::parse(&value).ok_or_else(|| format!("kind: is one of {}", kinds()))?);
            }
            "value" => part.value = Some(value.into_owned()),
            "issuer" => {
                let rules = rules_of(live, &value).ok_or("issuer: no issuer is called so")?;
                part.iss = Some(rules.iss.clone());
            }
            "after" => {
                let after = RevocationId::parse(&value).ok_or("after: is the `next` of another answer")?;
                part.after = Some(after);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LISTED.1).contains(limit));
                part.limit = limit.ok_or_else(|| format!("limit: is between 1 and {}", LISTED.1))?;
            }
            _ => return Err("the query knows kind, value, issuer, after and limit".to_owned()),
        }
    }
    by_each_name(live, &mut part);
    Ok(part)
}

/// An issuer is meant by each of its names, and so is what was taken back under one that was its `url`
/// before.
fn by_each_name(live: &Live, part: &mut ListQuery) {
    let names_issuer = part.kind == Some(Kind::Issuer);
    let named = if names_issuer { &mut part.value } else { &mut part.iss };
    let Some((named, rules)) =
        named.as_mut().and_then(|named| rules_of(live, named).map(|rules| (named, rules)))
    else {
        return;
    };
    named.clone_from(&rules.iss);
    part.or_called = rules.names().filter(|name| *name != rules.iss).map(str::to_owned).collect();
}

/// The rules of the issuer that has this name in config.yaml, or is called so.
fn rules_of<'l>(live: &'l Live, named: &str) -> Option<&'l TokenRules> {
    let mut all = live.issuers.iter().map(|issuer| &issuer.settings);
    let found = all.find(|issuer| issuer.name.as_str() == named || issuer.rules.is_called(named));
    found.map(|issuer| &issuer.rules)
}

/// Takes a revocation back.
pub(super) async fn remove(gate: &Gate, id: &str, who: &Who) -> Answer {
    let Some(id) = RevocationId::parse(id) else {
        return plain(StatusCode::NOT_FOUND, "No revocation has this id.\n");
    };
    match lift(gate, id).await {
        Ok(Some(gone)) => {
            let live = gate.live.load_full();
            audit(&live, who, "lifted a revocation", &gone);
            as_json(StatusCode::OK, &Shown::of(&gone, &live))
        }
        Ok(None) => plain(StatusCode::NOT_FOUND, "No revocation has this id.\n"),
        Err(fault) => away(&fault),
    }
}

#[cfg(test)]
mod tests;
