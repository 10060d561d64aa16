//! WHAT WE DO. Use cases, one a file or folder and read from top to bottom; then what they share.
//!
//! Requests to routes:
//!
//! - `admit`: may it pass, and where to; `answer_preflight`: a browser asks before it sends a page's request
//! - `authenticate`: a token, found good before or judged now; `introspect`: an opaque one, by its issuer's
//!   word
//! - `prove_possession`: may whoever brings it use it
//! - `session`: a cookie that stands for a token
//! - `make_assertion`: the gateway's signed statement for an upstream
//! - `open_requests`: what is under way ends when its access is taken back
//!
//! Tokens and sign-in:
//!
//! - `token_endpoint`: `/oauth/token`, by the kind of client: `exchange` (with a cookie) or `pass_through`
//!   (native)
//! - `sign_in`: `/oauth/login` and `/oauth/callback`; `verify_id_token`: what comes of a sign-in
//! - `sign_out`: `DELETE /oauth/token` and `/oauth/logout`, with the way on from there
//! - `call_authorization_server`: the gateway as a client
//!
//! Taking access back:
//!
//! - `revoke`: what an operator asks for; `backchannel_logout`: what an issuer says; `hear_signal`: what a
//!   transmitter says
//! - `heard`: what the last two share
//!
//! Operation:
//!
//! - `fitting_keys`: whether an issuer's keys are of any use
//! - `keep_keys_fresh`: issuers' keys and endpoints; `ask_issuer`: whether an issuer gives what is needed,
//!   once; `try_credentials`: whether it takes what the gateway proves itself with
//! - `explain`: what would become of a request; `describe_resource`: metadata of a resource
//! - `reload`: asks for another reading of the configuration
//!
//! What they share:
//!
//! - `ports`: the world outside, as traits
//! - `brake`: who gets no more work done; `brought`: how an access token reached us
//! - `own_endpoint`: which paths are Tollgate's own; `oauth_answer`: what is said at `/oauth/token`
//! - `claims_elsewhere`: tells operators what tokens leave out
//! - `route_request`: a request to a route; `client_request`: a request that concerns one client
//! - `family`: what store and cookie hold of a client's session; `backoff`: pauses between attempts

pub mod admit;
pub mod answer_preflight;
pub mod ask_issuer;
pub mod authenticate;
pub mod backchannel_logout;
mod backoff;
pub mod brake;
pub mod brought;
pub mod call_authorization_server;
mod claims_elsewhere;
mod client_request;
pub mod describe_resource;
pub mod exchange;
pub mod explain;
mod family;
mod fitting_keys;
pub mod hear_signal;
mod heard;
pub mod introspect;
pub mod keep_keys_fresh;
mod make_assertion;
pub mod oauth_answer;
pub mod open_requests;
pub mod own_endpoint;
pub mod pass_through;
pub mod ports;
pub mod prove_possession;
pub mod reload;
pub mod revoke;
mod route_request;
pub mod session;
pub mod sign_in;
pub mod sign_out;
pub mod token_endpoint;
pub(crate) mod try_credentials;
pub mod verify_id_token;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::settings::Settings;
use crate::core::ids::FamilyId;
use crate::core::revocation::RevocationId;
use crate::core::secret::Secret;
use crate::core::token::fingerprint::FingerprintKey;
use crate::state::assertions::MadeAssertions;
use crate::state::backlog::Backlog;
use crate::state::errands::Errands;
use crate::state::exchanges::Exchanges;
use crate::state::known_tokens::KnownTokens;
use crate::state::lines::Lines;
use crate::state::live::Live;
use crate::state::metrics::Metrics;
use crate::state::open_requests::OpenRequests;
use crate::state::refusals::Refusals;
use crate::state::revocations::Revocations;
use crate::state::sessions::Sessions;
use crate::state::token_memory::Shares;
use crate::state::used_proofs::UsedProofs;
use crate::state::verified_tokens::VerifiedTokens;
use brake::Brake;
use ports::{Clock, HttpClient, Randomness, RevocationLog, Store};
use reload::Reloads;
use revoke::naming::Unnamed;
use revoke::second_look::Sought;

/// What there is for operators.
#[derive(Debug, Default)]
pub struct Operators {
    pub refusals: Refusals,
    pub reloads: Reloads,
    /// The lines of requests, which `app` has written.
    pub access_log: Arc<Lines>,
    /// Our own messages.
    pub messages: Arc<Lines>,
    /// The token of the admin listener. Without one no operator is admitted by a token.
    pub token: Option<Secret<Vec<u8>>>,
}

/// Everything that a flow works with. Built once, in `app`.
#[derive(Debug)]
pub struct Gate {
    pub live: ArcSwap<Live>,
    pub exchanges: Exchanges,
    /// Access tokens and last uses of sessions of clients in `session` mode.
    pub sessions: Sessions,
    /// Tokens whose use was reported as proof of receipt.
    pub seen_tokens: Arc<KnownTokens>,
    /// Refresh tokens that their authorization server is being told to revoke, or was told lately.
    pub revoked_there: KnownTokens,
    /// The key of the fingerprints that tokens are remembered by.
    pub fingerprint_key: FingerprintKey,
    pub verified_tokens: VerifiedTokens,
    pub made_assertions: MadeAssertions,
    /// Proofs of possession that were used with tokens on routes.
    pub used_proofs: UsedProofs,
    /// Those of pages that ask for tokens. Apart, so that whoever fills one of the two fills it alone.
    pub used_page_proofs: UsedProofs,
    pub brake: Brake,
    /// What is under way for somebody, and must end when that is taken back.
    pub open_requests: Arc<OpenRequests>,
    pub errands: Errands,
    /// Access tokens that are to be put into the list of revocations, by the session that handed them out.
    pub unnamed: Backlog<FamilyId, Unnamed>,
    /// Revocations whose sessions are to be looked for once more.
    pub second_looks: Backlog<RevocationId, Sought>,
    pub metrics: Metrics,
    pub operators: Operators,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Randomness>,
    pub http: Arc<dyn HttpClient>,
    pub store: Arc<dyn Store>,
    /// The list of revocations, as requests ask it: in memory.
    pub revocations: Arc<Revocations>,
    /// The list of revocations, durable and one for all replicas.
    pub revocation_log: Arc<dyn RevocationLog>,
}

/// The world outside, as flows see it.
#[derive(Debug)]
pub struct Ports {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Randomness>,
    pub http: Arc<dyn HttpClient>,
    pub store: Arc<dyn Store>,
    pub revocation_log: Arc<dyn RevocationLog>,
}

impl Gate {
    /// Remembers nothing yet, but for what is in `revocations`.
    pub fn new(
        live: Arc<Live>,
        revocations: Arc<Revocations>,
        metrics: Metrics,
        operators: Operators,
        ports: Ports,
    ) -> Self {
        let Ports { clock, random, http, store, revocation_log } = ports;
        let shares = Shares::of(live.settings.limits.token_memory);
        let clock_skew = live.settings.largest_clock_skew();
        revocations.set_issuers(live.settings.issuers.iter().map(|issuer| &issuer.rules));
        Self {
            fingerprint_key: FingerprintKey::from_random(&ports::random(&*random)),
            verified_tokens: VerifiedTokens::new(shares.verified_tokens),
            made_assertions: MadeAssertions::new(shares.assertions),
            live: ArcSwap::new(live),
            exchanges: Exchanges::default(),
            sessions: Sessions::new(shares.sessions),
            seen_tokens: Arc::default(),
            revoked_there: KnownTokens::default(),
            used_proofs: UsedProofs::new(shares.used_proofs, clock_skew),
            used_page_proofs: UsedProofs::new(shares.used_page_proofs, clock_skew),
            brake: Brake::default(),
            open_requests: Arc::default(),
            errands: Errands::default(),
            unnamed: Backlog::default(),
            second_looks: Backlog::default(),
            metrics,
            operators,
            clock,
            random,
            http,
            store,
            revocations,
            revocation_log,
        }
    }

    /// What is remembered of tokens keeps to another configuration from here on.
    pub fn keep_to(&self, settings: &Settings) {
        self.revocations.set_issuers(settings.issuers.iter().map(|issuer| &issuer.rules));
        let shares = Shares::of(settings.limits.token_memory);
        self.verified_tokens.set_limit(shares.verified_tokens);
        self.made_assertions.set_limit(shares.assertions);
        self.sessions.set_limit(shares.sessions);
        self.used_proofs.set_limit(shares.used_proofs);
        self.used_page_proofs.set_limit(shares.used_page_proofs);
        for used in [&self.used_proofs, &self.used_page_proofs] {
            used.allow_clock_skew(settings.largest_clock_skew(), || self.clock.now());
        }
    }
}
