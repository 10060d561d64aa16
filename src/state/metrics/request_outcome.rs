//! What became of a request, in one word: `outcome` in the access log, which docs/metrics.md describes. It is
//! `ok`, how an exchange ended, why a request was refused (as in `denials_total`), why it was ended under way
//! (as in `streams_ended_total`), or one of those that are here alone.

use super::ExchangeOutcome;
use crate::core::denial::Denial;
use crate::state::open_requests::Ending;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    Ok,
    /// To https.
    Redirected,
    /// One of CORS was answered here.
    Preflight,
    /// A page was opened without a session, and the browser sent to sign in.
    SentToSignIn,
    /// The same, where the browser may withhold the cookie.
    AskedOnceMore,
    SignInBegun,
    /// The browser withheld the cookie of the session before, and comes again.
    SignInGoesOn,
    SignedIn,
    SignedOut,
    /// On to the authorization server's end of the session.
    SignOutGoesOn,
    Exchanged(ExchangeOutcome),
    BackchannelLogout,
    SharedSignal,
    Refused(Reason),
    /// The client left while it was answered.
    ClientGone,
    /// Under way, because the access did.
    Ended(Ending),
    /// Under way: a drain did not wait for it any longer.
    DrainOver,
}

impl RequestOutcome {
    /// Each of them, but for the refusals, of which there are as many as denials.
    pub fn all() -> impl Iterator<Item = Self> {
        let alone = [
            Self::Ok,
            Self::Redirected,
            Self::Preflight,
            Self::SentToSignIn,
            Self::AskedOnceMore,
            Self::SignInBegun,
            Self::SignInGoesOn,
            Self::SignedIn,
            Self::SignedOut,
            Self::SignOutGoesOn,
            Self::BackchannelLogout,
            Self::SharedSignal,
            Self::ClientGone,
            Self::DrainOver,
        ];
        let exchanged = ExchangeOutcome::ALL.into_iter().map(Self::Exchanged);
        alone.into_iter().chain(exchanged).chain(Ending::ALL.into_iter().map(Self::Ended))
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Redirected => "redirected",
            Self::Preflight => "preflight",
            Self::SentToSignIn => "sent_to_sign_in",
            Self::AskedOnceMore => "asked_once_more",
            Self::SignInBegun => "sign_in_begun",
            Self::SignInGoesOn => "sign_in_goes_on",
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::SignOutGoesOn => "sign_out_goes_on",
            Self::Exchanged(outcome) => outcome.label(),
            Self::BackchannelLogout => "backchannel_logout",
            Self::SharedSignal => "shared_signal",
            Self::Refused(reason) => reason.label(),
            Self::ClientGone => "client_gone",
            Self::Ended(Ending::Revoked) => "ended_revoked",
            Self::Ended(Ending::Expired) => "ended_expired",
            Self::Ended(Ending::SessionOver) => "ended_session_over",
            Self::Ended(Ending::RevocationsUnavailable) => "ended_revocations_unavailable",
            Self::DrainOver => "ended_drain_over",
        }
    }
}

impl From<&Denial> for RequestOutcome {
    fn from(denial: &Denial) -> Self {
        Self::Refused(denial.into())
    }
}

/// Why a request was refused: the label of a denial, and of nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(&'static str);

impl Reason {
    pub const fn label(self) -> &'static str {
        self.0
    }
}

impl From<&Denial> for Reason {
    fn from(denial: &Denial) -> Self {
        Self(denial.facts().label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_each() {
        let metrics = include_str!("../../../docs/metrics.md");
        let row = metrics.lines().find(|line| line.starts_with("| `outcome` |")).unwrap();
        let configuration = include_str!("../../../docs/configuration.md");
        let item = configuration.lines().find(|line| line.starts_with("- **Standard output**")).unwrap();
        for label in RequestOutcome::all().map(RequestOutcome::label) {
            for (page, said) in [("metrics", row), ("configuration", item)] {
                assert!(said.contains(&format!("`{label}`")), "docs/{page}.md does not name {label}");
            }
        }
    }

    #[test]
    fn what_is_ended_is_called_as_its_cause_is_in_the_metrics_and_no_two_are_called_alike() {
        for ending in Ending::ALL {
            assert_eq!(RequestOutcome::Ended(ending).label(), format!("ended_{}", ending.label()));
        }
        let mut labels: Vec<_> = RequestOutcome::all().map(RequestOutcome::label).collect();
        let all = labels.len();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), all);
    }
}
