//! Leave to go to an upstream. [`Permit::grant`] is the only maker and judges by the route's policy
//! itself, so that there is no permit without a judgement; `edge` cannot name an upstream without one.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::core::denial::Denial;
use crate::core::identity_headers::identity_headers;
use crate::core::route::Route;
use crate::core::route::path::CanonicalPath;
use crate::core::route::policy::{TokenFacts, judge};
use crate::core::route::table::Matched;
use crate::core::time::Timestamp;
use crate::core::token::jwt::VerifiedToken;

/// Leave to go to the upstream of one route, with one path, for one caller.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    path: CanonicalPath,
    query: Option<String>,
    token: Option<Arc<VerifiedToken>>,
    identity: Vec<(HeaderName, HeaderValue)>,
    forward_access_token: bool,
}

/// What an upstream is told of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Disclosure<'a> {
    /// Header and the claim that fills it.
    pub headers: &'a [(HeaderName, String)],
    /// Whether the access token goes on in `Authorization`.
    pub access_token: bool,
}

impl Permit {
    /// Judges, and permits where every requirement of the route holds. `token` is the one that came
    /// with the request; a public route needs none.
    ///
    /// # Errors
    /// The requirement that does not hold.
    pub fn grant(
        matched: Matched,
        query: Option<String>,
        token: Option<Arc<VerifiedToken>>,
        disclosure: Disclosure<'_>,
        now: Timestamp,
    ) -> Result<Self, Denial> {
        let (route, path) = matched.into_parts();
        let facts = token.as_deref().map(TokenFacts::from);
        judge(&route, &path, facts, now)?;
        let identity = facts.map(|facts| identity_headers(disclosure.headers, facts)).unwrap_or_default();
        let forward_access_token = disclosure.access_token && token.is_some();
        Ok(Self { route, path, query, token, identity, forward_access_token })
    }

    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The path that was judged, which is the path that is sent.
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// Without its `?`, as it came.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    pub fn token(&self) -> Option<&Arc<VerifiedToken>> {
        self.token.as_ref()
    }

    /// The identity headers to set, after every reserved one was removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }

    /// Whether `Authorization` goes on to the upstream.
    pub fn forwards_access_token(&self) -> bool {
        self.forward_access_token
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::core::ids::{RouteName, UpstreamName};
    use crate::core::route::path::PathPattern;
    use crate::core::route::policy::{Access, Requirements};
    use crate::core::route::table::{Found, RouteTable};

    fn grant(access: Access) -> Result<Permit, Denial> {
        let route = Arc::new(Route {
            name: RouteName::new("all"),
            path: PathPattern::parse("/*").unwrap(),
            host: None,
            methods: None,
            access,
            upstream: UpstreamName::new("upstream"),
        });
        let table = RouteTable::build(&[route]).unwrap();
        let path = CanonicalPath::parse(b"/%61/b").unwrap();
        let Found::Route(matched) = table.find("h", &Method::GET, path) else { panic!("not found") };
        let headers = [(HeaderName::from_static("x-auth-subject"), "sub".to_owned())];
        let disclosure = Disclosure { headers: &headers, access_token: true };
        Permit::grant(matched, Some("q=%61".to_owned()), None, disclosure, Timestamp::from_secs(0))
    }

    #[test]
    fn there_is_no_permit_without_what_the_route_requires() {
        assert_eq!(grant(Access::Protected(Requirements::default())).unwrap_err(), Denial::NoCredential);
    }

    #[test]
    fn an_anonymous_permit_tells_of_nobody_and_keeps_the_judged_path() {
        let permit = grant(Access::Public).unwrap();
        assert_eq!((permit.path().as_str(), permit.query()), ("/a/b", Some("q=%61")));
        assert!(permit.identity().is_empty() && permit.token().is_none() && !permit.forwards_access_token());
    }
}
