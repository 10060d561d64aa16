//! Which denials count against their address, and in which tally. How many are too many is decided in
//! `allowance`.

use http::{HeaderMap, header};

use crate::core::denial::Denial;
use crate::core::route::{CorsSpeaker, Route};
use crate::core::token::security_event::Code;

/// Whether a denial counts against its address: what came pretends to be a credential but is none, and
/// finding that out cost work, or could have.
///
/// What honest callers meet does not count: no credential, an expired or revoked one, a missing scope, a
/// session that is over. Nor does what any page can make its visitor's browser send (a foreign `Origin`, a
/// query, a planted cookie), because the visitor could be shut out; nor any outage.
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
        | Denial::BindingNotSupported
        | Denial::BoundTokenAsBearer
        | Denial::TokenNotBound
        | Denial::ProofInvalid(_)
        | Denial::ProofOfAnotherKey
        | Denial::ProofReplayed
        | Denial::DpopProofForged
        | Denial::DpopProofReplayed
        // In a session this would be `FromAuthorizationServer`. An honest page or native client meets it once
        // a sign-in or refresh.
        | Denial::ProofRefusedThere(_)
        | Denial::TokenInactive { was_good: false }
        | Denial::LogoutTokenForged(_)
        | Denial::ClientCredentialRefused { .. } => true,
        // Only for a wrong key, signature or secret. The transmitter itself sends whatever anybody with an
        // account there makes it send.
        Denial::SecurityEventRefused(refused) => {
            matches!(refused.code, Code::InvalidKey | Code::AuthenticationFailed)
        }
        // For a code, or the refresh token of a native client. A session's end is `SessionEnded`.
        Denial::FromAuthorizationServer(said) => said.error == "invalid_grant",
        _ => false,
    }
}

/// Which counter of its address a denial counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tally {
    /// The counter that brakes all requests of the address.
    #[default]
    Everybody,
    /// Denials on routes with `report_only`. They brake these routes alone.
    Trial,
    /// Denials of pages that no client lists. They brake such pages alone.
    UnlistedPage,
}

impl Tally {
    /// The tally of a request. A page that no client lists can send a token only if the upstream decides
    /// about pages (`cors: upstream`), or if every page may; otherwise its browser does not let it.
    /// `headers`: of the request.
    pub fn of(route: &Route, headers: &HeaderMap) -> Self {
        if route.report_only {
            Self::Trial
        } else if (route.cors == CorsSpeaker::Upstream || route.sharing.is_with_everybody())
            && headers.contains_key(header::ORIGIN)
            && !route.sharing.names_page(headers)
        {
            Self::UnlistedPage
        } else {
            Self::Everybody
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod what_counts;

    use http::HeaderValue;

    use super::*;
    use crate::core::cors::Sharing;
    use crate::core::cors::page_pattern::PagePattern;
    use crate::core::request::Origin;
    use crate::core::route;

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

    #[test]
    fn of_pages_that_only_everybody_is_the_denials_are_counted_apart() {
        let with = |patterns: &[&str]| {
            let pattern = |text: &&str| {
                if *text == "*" { PagePattern::EVERYBODY } else { PagePattern::parse(text).unwrap().0 }
            };
            let mut route = route(CorsSpeaker::Gateway, false, "https://app.example");
            route.sharing.without_cookies = patterns.iter().map(pattern).collect();
            route
        };
        for (patterns, origin, tally) in [
            (&["*"][..], "https://evil.example", Tally::UnlistedPage),
            (&["*"], "null", Tally::UnlistedPage),
            (&["*"], "https://app.example", Tally::Everybody),
            (&["https://*.preview.example"], "https://a.preview.example", Tally::Everybody),
            (&["https://*.preview.example"], "https://evil.example", Tally::Everybody),
            (&["*", "https://*.preview.example"], "https://a.preview.example", Tally::Everybody),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(Tally::of(&with(patterns), &headers), tally, "{patterns:?} {origin}");
        }
    }
}
