//! The permit to go to an upstream; without one `edge` cannot name an upstream. A request gets it from
//! [`Permit::grant`], which judges it by the route's policy. Only a preflight is not judged, because a
//! browser sends it on nobody's behalf: [`Permit::preflight`] takes the proof that a request is one, on a
//! route whose upstream speaks CORS itself.
//!
//! On a route with `report_only` a request that would be refused goes on as an anonymous one. Such a permit
//! is made from the denial, keeps it, and cannot name a caller. On any other route a denial stays a denial.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::core::caller::Caller;
use crate::core::cors::Preflight;
use crate::core::denial::Denial;
use crate::core::path::CanonicalPath;
use crate::core::request::check_length;
use crate::core::route::policy::judge;
use crate::core::route::table::Matched;
use crate::core::route::{CorsSpeaker, Route};
use crate::core::secret::SecretString;
use crate::core::time::Timestamp;
use crate::core::token::bearer::without_access_token;
use crate::core::token::verified::VerifiedToken;

/// Permission to go to the upstream of one route, with one path, for one caller.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    path: CanonicalPath,
    /// The path to send, if the route sends another than it judges.
    sent: Option<CanonicalPath>,
    query: Option<String>,
    caller: Option<Arc<Caller>>,
    assertion: Option<(HeaderName, HeaderValue)>,
    forward_access_token: bool,
    /// The access token of the caller's session, if the route forwards it.
    session_token: Option<SecretString>,
    reported: Option<Reported>,
    is_preflight: bool,
}

/// What a route with `report_only` would have refused.
#[derive(Debug)]
pub struct Reported {
    pub denial: Denial,
    /// The caller, if a valid token named one. For the log alone.
    pub caller: Option<Arc<Caller>>,
}

/// Why there is no permit, and for whom.
#[derive(Debug)]
pub struct NotPermitted {
    pub denial: Denial,
    pub route: Arc<Route>,
    /// The caller, if there was one.
    pub caller: Option<Arc<Caller>>,
}

impl Permit {
    /// Judges a request, and permits it if every requirement of the route holds. `caller`: who was
    /// authenticated; a public route needs nobody. `forward_access_token`: whether `Authorization` goes on to
    /// the upstream.
    ///
    /// # Errors
    /// The requirement that fails, unless the route only reports it; [`Denial::HeaderTooLarge`] when the
    /// target to send is too long.
    pub fn grant(
        matched: Matched,
        query: Option<String>,
        caller: Option<Arc<Caller>>,
        forward_access_token: bool,
        now: Timestamp,
    ) -> Result<Self, NotPermitted> {
        let (route, path) = matched.into_parts();
        if let Err(denial) = judge(&route, &path, caller.as_deref().map(Caller::facts), now) {
            return Self::report(route, path, query, Reported { denial, caller });
        }
        let forward_access_token = forward_access_token && caller.is_some();
        let permit = Self { query, caller, forward_access_token, ..Self::for_nobody(route, path) };
        permit.if_it_fits()
    }

    /// A permit without caller, query and headers.
    fn for_nobody(route: Arc<Route>, path: CanonicalPath) -> Self {
        Self {
            sent: route.forwarding.path.as_ref().map(|sent| sent.of(&path)),
            route,
            path,
            query: None,
            caller: None,
            assertion: None,
            forward_access_token: false,
            session_token: None,
            reported: None,
            is_preflight: false,
        }
    }

    /// Returns the permit if its target can be sent: a `rewrite` may have made it too long.
    fn if_it_fits(self) -> Result<Self, NotPermitted> {
        match check_length(self.sent_path().as_str(), self.query()) {
            Ok(()) => Ok(self),
            Err(denial) => Err(self.withdraw(denial)),
        }
    }

    /// The outcome for a request whose credential was refused.
    ///
    /// # Errors
    /// The same denial, unless the route only reports it; [`Denial::HeaderTooLarge`] as in [`Self::grant`].
    pub fn without_credential(
        matched: Matched,
        query: Option<String>,
        denial: Denial,
    ) -> Result<Self, NotPermitted> {
        let (route, path) = matched.into_parts();
        Self::report(route, path, query, Reported { denial, caller: None })
    }

    /// An anonymous permit, if the route only reports. Not for denials by the brake: it refuses work, whoever
    /// asks.
    fn report(
        route: Arc<Route>,
        path: CanonicalPath,
        query: Option<String>,
        reported: Reported,
    ) -> Result<Self, NotPermitted> {
        if !route.report_only
            || matches!(reported.denial, Denial::TooManyDenials { only_reported: false, .. })
        {
            let Reported { denial, caller } = reported;
            return Err(NotPermitted { denial, route, caller });
        }
        let query = query.map(without_access_token);
        let permit = Self { query, reported: Some(reported), ..Self::for_nobody(route, path) };
        permit.if_it_fits()
    }

    /// The permit of a preflight to an upstream that speaks CORS itself, without a caller. `None`: the
    /// gateway speaks CORS.
    ///
    /// # Errors
    /// [`Denial::HeaderTooLarge`] as in [`Self::grant`].
    pub fn preflight(
        matched: Matched,
        query: Option<String>,
        _: &Preflight,
    ) -> Result<Option<Self>, NotPermitted> {
        let (route, path) = matched.into_parts();
        if route.cors != CorsSpeaker::Upstream {
            return Ok(None);
        }
        let query = query.map(without_access_token);
        Self { query, is_preflight: true, ..Self::for_nobody(route, path) }.if_it_fits().map(Some)
    }

    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The path that was judged.
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// The path to send: the judged one, unless the route has `strip_prefix` or `rewrite`.
    pub fn sent_path(&self) -> &CanonicalPath {
        self.sent.as_ref().unwrap_or(&self.path)
    }

    /// What `strip_prefix` takes off the judged path.
    pub fn stripped_prefix(&self) -> Option<String> {
        self.route.forwarding.path.as_ref()?.prefix_of(&self.path)
    }

    /// The query as it came, without its `?`. A token in it is removed when it is only reported.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    pub fn token(&self) -> Option<&VerifiedToken> {
        self.caller.as_deref().map(Caller::token)
    }

    /// What would have been refused but for `report_only`. The permit is anonymous then.
    pub fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// The caller, if there is one.
    pub fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.as_ref()
    }

    /// The identity headers to set, after every reserved one was removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        let which = self.route.forwarding.identity.headers;
        self.caller.as_deref().map(|caller| caller.identity(which)).unwrap_or_default()
    }

    /// Adds the assertion about the caller; ignored without one.
    pub fn set_assertion(&mut self, assertion: (HeaderName, HeaderValue)) {
        self.assertion = Some(assertion).filter(|_| self.caller.is_some());
    }

    /// Turns the permit into a refusal.
    pub fn withdraw(self, denial: Denial) -> NotPermitted {
        NotPermitted { denial, route: self.route, caller: self.caller }
    }

    /// The assertion to set, after every reserved header was removed.
    pub fn assertion(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.assertion.as_ref()
    }

    /// Forwards the access token of the caller's session, if the route forwards one: the request brought
    /// none.
    pub fn use_session_token(&mut self, token: &SecretString) {
        self.session_token = self.forward_access_token.then(|| token.clone());
    }

    /// The access token to set, if the caller did not bring it.
    pub fn session_token(&self) -> Option<&SecretString> {
        self.session_token.as_ref()
    }

    /// Whether it is for a preflight, which only its route was asked about: no credential goes with it.
    pub const fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    /// Whether `Authorization` goes on to the upstream.
    pub fn forwards_access_token(&self) -> bool {
        self.forward_access_token
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::core::ids::RouteName;
    use crate::core::route;
    use crate::core::route::policy::{Access, ClaimRequirement, ClaimValue, Requirements};
    use crate::core::route::table::{RouteMatch, RouteTable};
    use crate::core::token::jwks::KeySet;
    use crate::core::token::jwt::Unverified;
    use crate::core::token::testing::{NOW, claims, jwks, keys, rules, with};

    /// A token with these claims besides those of a good one: subject `alice`, scope `api:read`.
    fn token(changes: Value) -> VerifiedToken {
        let key = &keys().p256;
        let (set, _) = KeySet::parse(&jwks(&[key.jwk()])).unwrap();
        let text = key.sign(&with(claims(), changes));
        Unverified::parse(&text, 8192).unwrap().verify(&set, &rules(), NOW).unwrap()
    }

    fn grant(
        access: Access,
        path: &str,
        token: Option<VerifiedToken>,
        access_token: bool,
    ) -> Result<Permit, NotPermitted> {
        let headers = [
            (HeaderName::from_static("x-auth-subject"), "sub".to_owned()),
            (HeaderName::from_static("x-auth-scope"), "scope".to_owned()),
            (HeaderName::from_static("x-auth-tenant"), "tenant".to_owned()),
        ];
        let headers = [headers.to_vec()];
        let caller = token.map(|token| -> Arc<Caller> { Arc::new(Caller::new(token, &headers, ())) });
        Permit::grant(matched(access, false, path), Some("q=%61".to_owned()), caller, access_token, NOW)
    }

    fn matched(access: Access, report_only: bool, path: &str) -> Matched {
        let route = Arc::new(Route {
            name: RouteName::new("users"),
            access,
            report_only,
            ..route::testing::route("/users/{id}/*")
        });
        let table = RouteTable::build(&[route]).unwrap();
        let path = CanonicalPath::parse(path.as_bytes()).unwrap();
        let RouteMatch::Route(matched) = table.find("h", &Method::GET, path) else { panic!("not found") };
        matched
    }

    fn own_account() -> Access {
        Access::Protected(
            Requirements {
                scope: vec!["api:read".to_owned()],
                claims: vec![ClaimRequirement {
                    name: "sub".to_owned(),
                    values: vec![ClaimValue::PathParameter("id".to_owned())],
                }],
                signed_in_within: Some(Duration::from_secs(300)),
                ..Requirements::default()
            }
            .into(),
        )
    }

    #[test]
    fn there_is_no_permit_without_what_the_route_requires() {
        let denied = |path: &str, changes: Value| {
            grant(own_account(), path, Some(token(changes)), false).unwrap_err().denial
        };
        let fresh = json!({ "auth_time": NOW.as_secs() - 10 });
        assert_eq!(
            grant(own_account(), "/users/alice", None, false).unwrap_err().denial,
            Denial::NoCredential
        );
        assert_eq!(denied("/users/bob/x", fresh), Denial::ClaimMismatch { claim: "sub".to_owned() });
        let step_up = Denial::StepUp { acr_values: vec![], max_age: Some(Duration::from_secs(300)) };
        assert_eq!(denied("/users/alice", json!({})), step_up);
        assert_eq!(denied("/users/alice", json!({ "auth_time": NOW.as_secs() - 301 })), step_up);
        let scope = Denial::InsufficientScope { needed: vec!["api:read".to_owned()] };
        assert_eq!(denied("/users/alice", json!({ "scope": "api:write" })), scope);
    }

    #[test]
    fn a_permit_tells_who_calls_and_keeps_the_judged_path() {
        let brought = token(json!({ "sub": "alice@x,y", "auth_time": NOW.as_secs() - 10 }));
        let permit = grant(own_account(), "/users/%61lice@x%2cy/%7e", Some(brought), false).unwrap();
        assert_eq!((permit.path().as_str(), permit.query()), ("/users/alice@x%2Cy/~", Some("q=%61")));
        let identity: Vec<(&str, &str)> =
            permit.identity().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(identity, [("x-auth-subject", "alice@x%2Cy"), ("x-auth-scope", "api:read")]);
        assert!(!permit.forwards_access_token());
    }

    #[test]
    fn on_a_public_route_a_token_says_who_calls_and_none_says_nothing() {
        let known = grant(Access::Public, "/users/bob", Some(token(json!({}))), true).unwrap();
        assert_eq!(known.identity().len(), 2);
        assert!(known.forwards_access_token() && known.token().is_some());
        let anonymous = grant(Access::Public, "/users/bob", None, true).unwrap();
        assert!(anonymous.identity().is_empty() && anonymous.token().is_none());
        assert!(!anonymous.forwards_access_token());
    }

    #[test]
    fn what_is_only_reported_goes_on_as_nobodys() {
        let headers = [vec![(HeaderName::from_static("x-auth-subject"), "sub".to_owned())]];
        let query = || Some("a=1&access_token=x&b".to_owned());
        let asked = |report_only| matched(own_account(), report_only, "/users/bob");
        let alice: Arc<Caller> =
            Arc::new(Caller::new(token(json!({ "auth_time": NOW.as_secs() - 10 })), &headers, ()));
        let mismatch = Denial::ClaimMismatch { claim: "sub".to_owned() };
        for (brought, denial, caller) in
            [(Some(alice.clone()), mismatch.clone(), Some("alice")), (None, Denial::NoCredential, None)]
        {
            let permit = Permit::grant(asked(true), query(), brought.clone(), true, NOW).unwrap();
            assert!(permit.identity().is_empty() && permit.token().is_none());
            assert!(!permit.forwards_access_token());
            assert_eq!((permit.path().as_str(), permit.query()), ("/users/bob", Some("a=1&b")));
            let reported = permit.reported().unwrap();
            assert_eq!(reported.denial, denial);
            assert_eq!(reported.caller.as_ref().and_then(|caller| caller.token().subject()), caller);
            let refused = Permit::grant(asked(false), query(), brought, true, NOW).unwrap_err();
            assert_eq!((refused.denial, refused.route.name.as_str()), (denial, "users"));
            assert_eq!(refused.caller.as_ref().and_then(|caller| caller.token().subject()), caller);
        }
        for denial in [Denial::Revoked, Denial::KeysUnavailable, Denial::TokenInQuery, Denial::TokenTooLarge]
        {
            let permit = Permit::without_credential(asked(true), query(), denial.clone()).unwrap();
            assert!(permit.identity().is_empty() && permit.token().is_none());
            assert!(!permit.forwards_access_token());
            assert_eq!(permit.reported().unwrap().denial, denial);
            let refused = Permit::without_credential(asked(false), query(), denial.clone());
            assert_eq!(refused.unwrap_err().denial, denial);
        }
        for only_reported in [true, false] {
            let braked = Denial::TooManyDenials { retry_after: Duration::from_secs(1), only_reported };
            let passes = Permit::without_credential(asked(true), None, braked.clone()).is_ok();
            assert_eq!(passes, only_reported, "a brake holds here too, but that of trials refuses nobody");
            assert!(Permit::without_credential(asked(false), None, braked).is_err());
        }
    }

    #[test]
    fn what_holds_on_a_route_that_only_reports_is_a_permit_as_elsewhere() {
        let headers = [vec![(HeaderName::from_static("x-auth-subject"), "sub".to_owned())]];
        let alice: Arc<Caller> =
            Arc::new(Caller::new(token(json!({ "auth_time": NOW.as_secs() - 10 })), &headers, ()));
        let asked = matched(own_account(), true, "/users/alice");
        let permit = Permit::grant(asked, None, Some(alice), true, NOW).unwrap();
        assert!(permit.reported().is_none() && permit.token().is_some() && permit.forwards_access_token());
        assert_eq!(permit.identity().len(), 1);
    }
}
