//! What a token says of itself, check by check, for people. All of it is escaped: it is anybody's text.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::check::Check;
use crate::core::token::jwt::{Says, Unverified};
use crate::core::token::verified::first_present;
use crate::core::token::{Algorithm, TokenRules};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;

/// The longest text of a token that is shown whole, in characters.
const LONGEST_SHOWN: usize = 200;

/// A token next to what is asked of it.
pub(super) struct Told<'a> {
    live: &'a Live,
    length: usize,
    read: Option<Unverified<'a>>,
    now: Timestamp,
}

impl<'a> Told<'a> {
    pub(super) fn of(live: &'a Live, text: &'a str, now: Timestamp) -> Self {
        let read = Unverified::parse(text, live.settings.limits.token).ok();
        Self { live, length: text.len(), read, now }
    }

    /// Every claim, each a line.
    pub(super) fn claims(&self) -> Vec<(String, String)> {
        let claims = self.read.as_ref().map(|read| read.says().claims);
        claims.into_iter().flatten().map(|(name, value)| (shown(name), shown(&value.to_string()))).collect()
    }

    /// The same about the check that failed, and why it did where the facts alone seem to say that it holds.
    pub(super) fn against(&self, check: Check, denial: &Denial) -> String {
        let about = self.about(check);
        match (check, denial) {
            (Check::Audience, Denial::WrongTokenType) => format!(
                "{about}; but this is for clients alone, and without the typ at+jwt that is taken for an ID token: the authorization server must name an API in aud"
            ),
            _ => about,
        }
    }

    /// What there is to know about one check.
    pub(super) fn about(&self, check: Check) -> String {
        let says = self.read.as_ref().map(Unverified::says);
        let issuer = self.read.as_ref().and_then(|read| self.live.issuers.of_access_tokens(read.iss()));
        match (check, says) {
            (Check::Size, _) => format!("{} bytes, at most {}", self.length, self.live.settings.limits.token),
            (Check::Form, Some(_)) => "a signed JWT".to_owned(),
            (Check::Header, Some(says)) => header(says),
            (Check::Payload, Some(_)) => "a JSON object without repeated members".to_owned(),
            (Check::Issuer, Some(says)) => {
                let known = self.live.issuers.iter().map(|issuer| &issuer.settings.rules);
                self::issuer(says.claims, issuer.map(|issuer| &issuer.settings.rules), known)
            }
            (_, Some(says)) => issuer.map(|issuer| about(check, says, issuer, self.now)).unwrap_or_default(),
            (_, None) => String::new(),
        }
    }
}

/// What is said of the issuer. `known`: those that there are.
fn issuer<'r>(
    claims: &Map<String, Value>,
    found: Option<&TokenRules>,
    known: impl Iterator<Item = &'r TokenRules>,
) -> String {
    let iss = value(claims, "iss");
    let Some(rules) = found else {
        let known = known.flat_map(TokenRules::iss_of_access_tokens).map(|iss| format!("{iss:?}"));
        return format!("iss is {iss}; configured: {}", known.collect::<Vec<_>>().join(", "));
    };
    let is_other = claims.get("iss").and_then(Value::as_str) != Some(&rules.iss);
    let as_what = if is_other { format!(", and counts as {:?}", rules.iss) } else { String::new() };
    format!("{iss} is `{}`{as_what}", rules.issuer)
}

fn header(says: Says<'_>) -> String {
    let kid = says.kid.map_or_else(|| "no kid".to_owned(), |kid| format!("kid {}", quoted(kid)));
    let typ = says.typ.map_or_else(|| "no typ".to_owned(), |typ| format!("typ {}", quoted(typ)));
    format!("alg {}, {kid}, {typ}", says.algorithm.name())
}

fn about(check: Check, says: Says<'_>, issuer: &IssuerState, now: Timestamp) -> String {
    let rules = &issuer.settings.rules;
    match check {
        Check::Algorithm => {
            let accepted: Vec<_> = rules.algorithms.iter().copied().map(Algorithm::name).collect();
            format!("{}; accepted from it: {}", says.algorithm.name(), accepted.join(", "))
        }
        Check::Type => {
            let typ = says.typ.map_or_else(|| "absent".to_owned(), quoted);
            let wanted = rules.token_type.as_deref().unwrap_or("at+jwt, JWT or absent");
            let told = says.mark_of_another_kind(rules).map(other_kind).unwrap_or_default();
            format!("typ is {typ}; accepted: {wanted}{told}")
        }
        Check::Times => times(says.claims, rules, now),
        Check::Binding if says.claims.contains_key("cnf") => format!("cnf is {}", value(says.claims, "cnf")),
        Check::Binding => "it is bound to no key".to_owned(),
        Check::Key => {
            let kids: Vec<String> =
                issuer.keys().map(|keys| keys.kids().map(quoted).collect()).unwrap_or_default();
            let why = issuer.last_error().map(|why| format!(" ({})", shown(&why))).unwrap_or_default();
            format!(
                "the issuer's: {}{why}",
                if kids.is_empty() { "none".to_owned() } else { kids.join(", ") }
            )
        }
        Check::Signature => format!("by {}", says.algorithm.name()),
        Check::Audience => audience(says.claims, rules),
        Check::Identifiers => {
            let names = &rules.claims;
            let first = |names: &[String]| names.iter().find(|name| says.claims.contains_key(*name)).cloned();
            let present =
                [Some("sub".to_owned()), first(&names.client), first(&names.session), first(&names.id)];
            let told =
                present.into_iter().flatten().map(|name| format!("{name} {}", value(says.claims, &name)));
            told.collect::<Vec<_>>().join(", ")
        }
        Check::Size | Check::Form | Check::Header | Check::Payload | Check::Issuer => String::new(),
    }
}

fn audience(claims: &Map<String, Value>, rules: &TokenRules) -> String {
    let about = format!("aud is {}; accepted: {}", value(claims, "aud"), rules.audiences.join(", "));
    if claims.contains_key("aud") || rules.clients_without_audience.is_empty() {
        return about;
    }
    // As it is judged: the first that says anything.
    let present = |name: &&String| first_present(claims, std::slice::from_ref(*name)).is_some();
    let client = rules.claims.client.iter().find(present);
    let client =
        client.map_or_else(|| "no client".to_owned(), |name| format!("{name} {}", value(claims, name)));
    format!(
        "{about}, or none where it says that it is an access token (token_use access, or typ at+jwt) and its client is one of {}; it has {client}",
        rules.clients_without_audience.join(", ")
    )
}

/// What the claim by which it shows another kind means, and, where that may be wrong, what shows an access
/// token in spite of it.
fn other_kind(mark: &str) -> String {
    match mark {
        "nonce" => "; its claim nonce is that of an ID token: an access token may repeat it where it names its client (azp) and that is not in \
             aud, where nobody in aud is a client here, or with a claim of issuers.<name>.claims.access_token"
            .to_owned(),
        "at_hash" | "c_hash" | "s_hash" => format!("; its claim {mark} is that of an ID token"),
        "events" => "; its claim events is that of an event".to_owned(),
        _ => format!("; its claim {mark} says that it is an ID token or a refresh token"),
    }
}

fn times(claims: &Map<String, Value>, rules: &TokenRules, now: Timestamp) -> String {
    let at = |name: &str| claims.get(name).and_then(Value::as_f64).and_then(Timestamp::from_numeric_date);
    let told = |name: &str| match (at(name), claims.get(name)) {
        (Some(at), _) => format!("{name} {}", at.to_rfc3339()),
        (None, Some(odd)) => format!("{name} {}", shown(&odd.to_string())),
        (None, None) => format!("no {name}"),
    };
    let nbf = if claims.contains_key("nbf") { format!("{}, ", told("nbf")) } else { String::new() };
    let seconds = |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs()));
    format!(
        "{}, {nbf}{}; now {}, give or take {}; at most {} long",
        told("iat"),
        told("exp"),
        now.to_rfc3339(),
        seconds(rules.clock_skew),
        seconds(rules.max_token_lifetime)
    )
}

fn value(claims: &Map<String, Value>, name: &str) -> String {
    claims.get(name).map_or_else(|| "absent".to_owned(), |value| shown(&value.to_string()))
}

fn quoted(text: &str) -> String {
    shown(&format!("{text:?}"))
}

/// Text of a token as a terminal may have it: nothing in it commands, and its length is bounded.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST_SHOWN {
            out.push('…');
            break;
        }
        if c == '"' || c == '\'' || c == '\\' { out.push(c) } else { out.extend(c.escape_debug()) }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::token::testing::{AUDIENCE, ISS, claims, rules, with};

    const SAID: &str = "http://as.example/services/trust";

    fn changed(changes: Value) -> Map<String, Value> {
        with(claims(), changes).as_object().unwrap().clone()
    }

    #[test]
    fn it_says_as_whose_a_token_of_another_name_counts() {
        let rules = TokenRules { access_token_iss: vec![SAID.to_owned(), ISS.to_owned()], ..rules() };
        let told = |iss: &str| {
            let found = rules.takes_access_tokens_of(iss).then_some(&rules);
            issuer(&changed(json!({ "iss": iss })), found, std::iter::once(&rules))
        };
        assert_eq!(told(ISS), format!("\"{ISS}\" is `demo`"));
        assert_eq!(told(SAID), format!("\"{SAID}\" is `demo`, and counts as \"{ISS}\""));
        assert_eq!(told("x"), format!("iss is \"x\"; configured: \"{SAID}\", \"{ISS}\""));
    }

    #[test]
    fn it_says_what_a_token_without_aud_needs_where_some_may_come_so() {
        let rules = TokenRules { clients_without_audience: vec!["a".into(), "b".into()], ..rules() };
        let told = |changes| audience(&changed(changes), &rules);
        assert_eq!(told(json!({})), format!("aud is \"{AUDIENCE}\"; accepted: {AUDIENCE}"));
        let without = told(json!({ "aud": null, "client_id": "c" }));
        assert!(without.contains("its client is one of a, b; it has client_id \"c\""), "{without}");
        assert!(without.contains("token_use access, or typ at+jwt"), "{without}");
        assert!(told(json!({ "aud": null, "client_id": null })).ends_with("it has no client"));
        let mut nothing = changed(json!({ "aud": null, "azp": "c" }));
        nothing.insert("client_id".to_owned(), Value::Null);
        let told = audience(&nothing, &rules);
        assert!(told.ends_with("it has azp \"c\""), "{told}");
        let nobody = audience(&changed(json!({ "aud": null })), &crate::core::token::testing::rules());
        assert_eq!(nobody, format!("aud is absent; accepted: {AUDIENCE}"));
    }
}
