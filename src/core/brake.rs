//! Which denials count against their address, and how many are too many: a leaky bucket (the generic cell
//! rate algorithm of ITU-T I.371). With `120/m` an address may be denied 120 times at once, and then once
//! every half second.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::core::denial::Denial;
use crate::core::route::{CorsSpeaker, Route};
use crate::core::time::Timestamp;
use crate::core::token::security_event::Code;

/// Whether a denial counts against the address that it was said to: what came pretends to be a credential and
/// is none, and telling that cost work, or could have.
///
/// What honest callers meet does not count: no credential, one that has expired or was revoked, a scope that
/// is missing, a session that is over. Neither does what a page of anybody's can make a visitor's browser
/// send (a foreign `Origin`, a query, a planted cookie), or that visitor could be shut out; nor any outage.
pub fn counts(denial: &Denial) -> bool {
    match denial {
        Denial::TokenMalformed(_)
        | Denial::UnknownIssuer
        | Denial::AlgorithmNotAllowed
        | Denial::UnsupportedHeader
        | Denial::WrongTokenType
        | Denial::UnknownKey
        | Denial::KeyNotKnownYet { .. }
        | Denial::BadSignature
        | Denial::WrongAudience
        | Denial::TokenNotYetValid
        | Denial::TokenLivesTooLong
        | Denial::ProofRequired
        | Denial::BoundTokenAsBearer
        | Denial::TokenNotBound
        | Denial::ProofInvalid(_)
        | Denial::ProofOfAnotherKey
        | Denial::ProofReplayed
        | Denial::DpopProofForged
        | Denial::DpopProofReplayed
        // A session's is `FromAuthorizationServer`. An honest page, or native client, meets it once a sign-in
        // or refresh.
        | Denial::ProofRefusedThere(_)
        | Denial::TokenInactive { was_good: false }
        | Denial::LogoutTokenForged(_)
        | Denial::ClientCredentialRefused { .. } => true,
        // By key, signature or secret; a transmitter itself brings whatever anybody with an account there
        // makes it send.
        Denial::SecurityEventRefused(refused) => {
            matches!(refused.code, Code::InvalidKey | Code::AuthenticationFailed)
        }
        // A code, or the refresh token of a native client; a session's own end is `SessionEnded`.
        Denial::FromAuthorizationServer(said) => said.error == "invalid_grant",
        _ => false,
    }
}

/// With whose denials a request's count, of those of its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tally {
    /// They brake whatever comes from there.
    #[default]
    Everybody,
    /// Those of routes that only report; they brake these routes alone.
    Trial,
    /// Those of pages that the gateway does not know; they brake such pages alone.
    UnlistedPage,
}

impl Tally {
    /// Only where an upstream says which pages may send a token can one do so that is not listed here:
    /// elsewhere its browser gets no leave for it. `headers`: of the request.
    pub fn of(route: &Route, headers: &HeaderMap) -> Self {
        if route.report_only {
            Self::Trial
        } else if route.cors == CorsSpeaker::Upstream
            && headers.contains_key(header::ORIGIN)
            && route.sharing.reader(headers).is_none()
        {
            Self::UnlistedPage
        } else {
            Self::Everybody
        }
    }
}

/// `limits.denials_per_address`: so many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub most: u32,
    pub window: Duration,
}

impl Allowance {
    /// What one denial costs.
    fn price(self) -> Duration {
        self.window / self.most.max(1)
    }

    /// The most that is owed. What was under way when the brake set in is paid for too, but nobody waits for
    /// hours because of one moment.
    const fn ceiling(self) -> Duration {
        self.window.saturating_mul(10)
    }
}

/// What an address owes for its denials. Time pays it off; while a window's worth is owed no work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    owed: Duration,
    since: Timestamp,
}

impl Debt {
    /// Of an address that was not denied lately.
    pub const fn none(now: Timestamp) -> Self {
        Self { owed: Duration::ZERO, since: now }
    }

    /// After one more denial.
    #[must_use]
    pub fn with_one_more(self, allowance: Allowance, now: Timestamp) -> Self {
        let owed = self.left(allowance, now).saturating_add(allowance.price());
        Self { owed: owed.min(allowance.ceiling()), since: now }
    }

    /// How long no work is done for the address; `None`: it is done now.
    pub fn wait(self, allowance: Allowance, now: Timestamp) -> Option<Duration> {
        let with_one_more = self.left(allowance, now).saturating_add(allowance.price());
        let over = with_one_more.saturating_sub(allowance.window);
        (!over.is_zero()).then_some(over)
    }

    /// A clock that was set back by more than a window forgives: nobody is to wait for it to catch up.
    fn left(self, allowance: Allowance, now: Timestamp) -> Duration {
        if self.since.since(now) > allowance.window {
            return Duration::ZERO;
        }
        self.owed.saturating_sub(now.since(self.since)).min(allowance.ceiling())
    }
}

#[cfg(test)]
mod tests {
    mod what_counts;

    use http::HeaderValue;

    use super::*;
    use crate::core::cors::Sharing;

    use crate::core::request::Origin;
    use crate::core::route;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DEFAULT: Allowance = Allowance { most: 120, window: Duration::from_secs(60) };

    fn route(cors: CorsSpeaker, report_only: bool, listed: &str) -> Route {
        let origins = vec![Origin::parse(listed).unwrap()];
        Route {
            report_only,
            cors,
            sharing: Sharing { origins, ..Sharing::default() },
            ..route::testing::route("/x")
        }
    }

    #[test]
    fn whose_denials_are_counted_apart() {
        const APP: &str = "https://app.example";
        for (cors, report_only, origins, tally) in [
            (CorsSpeaker::Upstream, false, &["https://evil.example"][..], Tally::UnlistedPage),
            (CorsSpeaker::Upstream, false, &["null"], Tally::UnlistedPage),
            (CorsSpeaker::Upstream, false, &[APP, "https://evil.example"], Tally::UnlistedPage),
            (CorsSpeaker::Upstream, false, &[APP], Tally::Everybody),
            (CorsSpeaker::Upstream, false, &[], Tally::Everybody),
            (CorsSpeaker::Gateway, false, &["https://evil.example"], Tally::Everybody),
            (CorsSpeaker::Upstream, true, &["https://evil.example"], Tally::Trial),
            (CorsSpeaker::Gateway, true, &[], Tally::Trial),
        ] {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let route = route(cors, report_only, APP);
            assert_eq!(Tally::of(&route, &headers), tally, "{cors:?} {report_only} {origins:?}");
        }
    }

    fn after(milliseconds: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(milliseconds))
    }

    fn denied(times: u32, allowance: Allowance) -> Debt {
        (0..times).fold(Debt::none(NOW), |debt, _| debt.with_one_more(allowance, NOW))
    }

    #[test]
    fn so_many_are_allowed_at_once_and_then_one_a_share_of_the_window() {
        for (most, window) in [(1, 1), (3, 1), (7, 60), (120, 60), (5, 3600), (5000, 1)] {
            let allowance = Allowance { most, window: Duration::from_secs(window) };
            assert_eq!(denied(most - 1, allowance).wait(allowance, NOW), None, "{allowance:?}");
            assert!(denied(most, allowance).wait(allowance, NOW).is_some(), "{allowance:?}");
        }
        let debt = denied(120, DEFAULT);
        assert_eq!(debt.wait(DEFAULT, NOW), Some(Duration::from_millis(500)));
        assert_eq!(debt.wait(DEFAULT, after(499)), Some(Duration::from_millis(1)));
        assert_eq!(debt.wait(DEFAULT, after(500)), None);
        let debt = debt.with_one_more(DEFAULT, after(500));
        assert_eq!(debt.wait(DEFAULT, after(500)), Some(Duration::from_millis(500)));
    }

    #[test]
    fn what_was_under_way_is_paid_for_and_nobody_waits_for_ever() {
        assert_eq!(denied(1000, DEFAULT).wait(DEFAULT, NOW), Some(Duration::from_millis(440_500)));
        let most = denied(100_000, DEFAULT);
        assert_eq!(most, denied(1200, DEFAULT));
        assert_eq!(most.wait(DEFAULT, after(540_499)), Some(Duration::from_millis(1)));
        assert_eq!(most.wait(DEFAULT, after(540_500)), None);
    }

    #[test]
    fn who_is_denied_less_often_is_never_refused() {
        let mut debt = Debt::none(NOW);
        for turn in 1..10_000 {
            debt = debt.with_one_more(DEFAULT, after(turn * 500));
            assert_eq!(debt.wait(DEFAULT, after(turn * 500)), None, "{turn}");
        }
    }

    #[test]
    fn another_allowance_counts_at_once() {
        let stricter = Allowance { most: 2, window: Duration::from_secs(10) };
        let debt = denied(120, DEFAULT);
        assert_eq!(debt.wait(stricter, NOW), Some(Duration::from_secs(55)));
        assert_eq!(debt.wait(stricter, after(55_000)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let debt = denied(120, DEFAULT);
        assert!(debt.wait(DEFAULT, NOW.minus(Duration::from_secs(1))).is_some());
        assert_eq!(debt.wait(DEFAULT, NOW.minus(Duration::from_secs(3600))), None);
    }
}
