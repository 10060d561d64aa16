//! May this request pass, and where to? First the target: one reading of path and host. Then the
//! judgement: route, address, credential, token, requirements, and at the end a [`Permit`] or a refusal.
//!
//! Reads memory only, except when the issuer's key is not known yet, an opaque token must be introspected,
//! the session is new to this process, or its access token is about to expire. It must never answer a request
//! itself and never let one pass without a permit.

use std::sync::Arc;

use crate::core::brake::Tally;
use crate::core::caller::Caller;
use crate::core::denial::Denial;
use crate::core::forwarded;
use crate::core::path::{CanonicalPath, EncodedSlash, SLASH};
use crate::core::request::{RequestHead, check_length};
use crate::core::route::Route;
use crate::core::route::permit::{NotPermitted, Permit};
use crate::core::route::policy::Access;
use crate::core::route::table::{Matched, RouteMatch};
use crate::core::session::activity::Activity;
use crate::core::time::Timestamp;
use crate::core::token::bearer::{Carried, Spelled, carried};
use crate::flows::Gate;
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::client_request::ClientRequest;
use crate::flows::exchange::receipts;
use crate::flows::make_assertion::make_assertion;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::prove_possession::Presentation;
use crate::flows::route_request::RouteRequest;
use crate::flows::session::SessionSide;
use crate::flows::session::{self, InSession, NotInSession, Wants};
use crate::state::live::Live;
use crate::state::open_requests::OfSession;
use crate::state::sessions::HeldTokens;
use crate::state::verified_tokens::KnownCaller;

/// A refusal, with what was found out before it.
#[derive(Debug)]
pub struct Refusal {
    pub denial: Denial,
    /// The route, if one was found.
    pub route: Option<Arc<Route>>,
    /// The caller, if a valid token named one.
    pub caller: Option<Arc<Caller>>,
    /// The outcome of the session cookie, if that was the credential.
    pub session: Option<Box<SessionSide>>,
}

impl From<Denial> for Refusal {
    /// A refusal before any route was found.
    fn from(denial: Denial) -> Self {
        Self { denial, route: None, caller: None, session: None }
    }
}

impl From<NotPermitted> for Refusal {
    fn from(NotPermitted { denial, route, caller }: NotPermitted) -> Self {
        Self { denial, route: Some(route), caller, session: None }
    }
}

/// A permit, and what a session adds to the answer.
#[derive(Debug)]
pub struct Admitted {
    pub permit: Permit,
    pub session: Option<Box<SessionSide>>,
}

/// The target of a request, in its only reading.
#[derive(Debug)]
pub struct Target {
    pub path: CanonicalPath,
    /// The query as it came, without its `?`.
    pub query: Option<String>,
    /// The endpoint, if the path is one of Tollgate's own.
    pub own: Option<OwnEndpoint>,
}

impl Target {
    /// The same target under `https`: at `public_url`, or on its port for the host of a route.
    pub fn under_https(&self, live: &Live, head: &RequestHead<'_>) -> String {
        let public = &live.settings.public_url;
        let port = public.authority().strip_prefix(public.host_name()).unwrap_or_default();
        let name = head.host_name().unwrap_or(public.host_name());
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("https://{name}{port}{}{query}", self.path.as_str())
    }
}

/// Reads target and host, and refuses what has two readings or is not served here. Whether an encoded slash
/// in the path is taken is up to its route; Tollgate's own endpoints take none, except the metadata of
/// resources.
///
/// # Errors
/// [`Denial::AmbiguousTarget`]; [`Denial::HeaderTooLarge`] when the canonical target is too long;
/// [`Denial::BadRequest`] when the host is malformed; [`Denial::UnknownHost`] when it is neither that of
/// `public_url` nor of any route. Ports are not compared: behind a load balancer or a container's port
/// mapping the client may use a port that the gateway does not know.
pub fn read_target(live: &Live, head: &RequestHead<'_>) -> Result<Target, Denial> {
    let (path, query) = match head.target.iter().position(|&b| b == b'?') {
        Some(at) => head.target.split_at(at),
        None => (head.target, &[][..]),
    };
    let path = CanonicalPath::parse_with(path, EncodedSlash::Keep)?;
    let query = query.split_first().map(|(_, query)| read_query(query)).transpose()?;
    check_length(path.as_str(), query.as_deref())?;
    let name = head.host_name()?;
    if live.settings.public_url.host_name() != name && !live.routes.names_host(name) {
        return Err(Denial::UnknownHost);
    }
    let own = path.is_own().then(|| OwnEndpoint::at(path.as_str()));
    if path.has_encoded_slash() && own.is_some_and(|own| own != OwnEndpoint::ResourceMetadata) {
        return Err(Denial::AmbiguousTarget(SLASH));
    }
    Ok(Target { path, query, own })
}

/// Reads the query, which goes on as it came. It must not contain what could end the request line, or the
/// query, early.
fn read_query(query: &[u8]) -> Result<String, Denial> {
    match std::str::from_utf8(query) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') => Ok(text.to_owned()),
        _ if query.contains(&b'#') => {
            Err(Denial::AmbiguousTarget("The request target must not contain a fragment."))
        }
        _ => Err(Denial::AmbiguousTarget("The query contains a character that must be percent-encoded.")),
    }
}

/// Checks that the route lets clients in from this address. No credential makes up for that, so `report_only`
/// does not apply.
///
/// # Errors
/// [`Denial::AddressNotAllowed`]
pub(in crate::flows) fn check_address(
    live: &Live,
    head: &RequestHead<'_>,
    matched: &Matched,
) -> Result<(), Refusal> {
    let (client, trusted) = (head.client_address, &live.settings.trusted_proxies);
    let is_doubtful = || forwarded::leaves_doubt(client, head.headers, trusted);
    let judged = matched.route().judge_address(client, is_doubtful);
    judged.map_err(|denial| Refusal { route: Some(matched.route().clone()), ..denial.into() })
}

/// Judges a request: route, address, credential, token, requirements.
///
/// # Errors
/// The first check that fails, with the route and the caller once they are known. On a route with
/// `report_only` a failed check is in the permit instead.
pub async fn admit(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    target: Target,
    now: Timestamp,
) -> Result<Admitted, Refusal> {
    let request = RouteRequest { gate, live, head, now };
    let Target { path, query, own } = target;
    let matched = find_route(live, head, path, own)?;
    // Before any work is done for a client that is not let in from its address.
    check_address(live, head, &matched)?;
    let Authentication { caller, session } = authenticate_caller(request, &matched, query.as_deref()).await;
    let permit = match caller {
        Err(denial) => Permit::without_credential(matched, query, denial),
        Ok(caller) => make_permit(request, matched, query, caller),
    };
    match permit {
        Ok(permit) => Ok(Admitted { permit, session }),
        Err(not) => Err(Refusal { session, ..not.into() }),
    }
}

/// Makes the permit of the authenticated caller, or an anonymous one, and adds the assertion for the upstream
/// and the session's access token where the route asks for them.
fn make_permit(
    request: RouteRequest<'_>,
    matched: Matched,
    query: Option<String>,
    caller: Option<Authenticated>,
) -> Result<Permit, NotPermitted> {
    let now = request.now;
    let identity = &matched.route().forwarding.identity;
    let (forwards, asserts) = (identity.forwards_access_token, identity.assertion.is_some());
    let Some(Authenticated { token, of_session }) = caller else {
        return Permit::grant(matched, query, None, forwards, now);
    };
    let asserted = asserts.then(|| token.clone());
    let (caller, held) = match of_session {
        Some((caller, held)) => (caller, Some(held)),
        None => (token as Arc<Caller>, None),
    };
    let mut permit = Permit::grant(matched, query, Some(caller), forwards, now)?;
    if let (Some(token), Some(caller)) = (asserted, permit.caller()) {
        match make_assertion(request, &permit, caller, &token) {
            Ok(assertion) => permit.set_assertion(assertion),
            Err(denial) => return Err(permit.withdraw(denial)),
        }
    }
    if let Some(held) = held {
        permit.use_session_token(&held.access_token);
    }
    Ok(permit)
}

/// An authenticated caller, and the token that proves it.
struct Authenticated {
    token: Arc<KnownCaller>,
    /// In a session: its caller and its tokens. `None`: the request brought the token itself.
    of_session: Option<(Arc<Caller>, Arc<HeldTokens>)>,
}

/// The outcome of authenticating a request.
struct Authentication {
    /// `Ok(None)`: no credential came that counts.
    caller: Result<Option<Authenticated>, Denial>,
    session: Option<Box<SessionSide>>,
}

/// Finds the one credential of the request and verifies it.
async fn authenticate_caller(
    request: RouteRequest<'_>,
    matched: &Matched,
    query: Option<&str>,
) -> Authentication {
    let RouteRequest { live, head, .. } = request;
    let route = matched.route();
    let brought = |by| {
        let tally = Tally::of(route, head.headers);
        Brought::ByRequest { to: &route.access, from: head.client_address, tally, by }
    };
    let token = match carried(head.headers, query) {
        Err(denial) => Err(denial),
        Ok(None) => return authenticate_session(request, route).await,
        Ok(Some(Carried::Authorization(scheme, token))) => {
            let by = Presentation::scheme(scheme, head, matched.path());
            authenticate_token(request, token, brought(by)).await
        }
        Ok(Some(Carried::Subprotocol(offered))) => {
            match may_bring_subprotocol(live, head, route).and_then(|()| offered.token()) {
                // A browser's WebSocket request carries no DPoP proof.
                Ok(token) => {
                    let (token, by) = (token.expose().into(), Presentation::Having);
                    authenticate_token(request, token, brought(by)).await
                }
                Err(denial) => Err(denial),
            }
        }
    };
    let caller = token.map(|token| Some(Authenticated { token, of_session: None }));
    Authentication { caller, session: None }
}

/// Authenticates by the session cookie, if the route takes one. On a public route a session that does not
/// hold counts as absent. Two cookies of the same name are refused everywhere.
async fn authenticate_session(request: RouteRequest<'_>, route: &Route) -> Authentication {
    let RouteRequest { gate, live, head, .. } = request;
    let taken = route.session.as_ref();
    let Some((takes, client)) = taken.and_then(|takes| Some((takes, live.settings.client(&takes.client)?)))
    else {
        return Authentication { caller: Ok(None), session: None };
    };
    let activity = Activity::use_if(takes.counts_as_use);
    let wants = Wants { signs_in: takes.signs_in, activity };
    let request = ClientRequest { gate, live, client, head };
    match session::of_request(request, wants).await {
        Ok(InSession { caller, found, held, grant, ride, .. }) => {
            let let_in = Some(Box::new(OfSession::of(request, &grant, found.clone())));
            let family = Some(grant.family);
            let side = SessionSide { brought_cookie: true, family, subject: None, let_in, ride };
            let caller = Authenticated { token: found, of_session: Some((caller, held)) };
            Authentication { caller: Ok(Some(caller)), session: Some(Box::new(side)) }
        }
        Err(not) => {
            let NotInSession { denial, mut side } = *not;
            let is_public = !matches!(route.access, Access::Protected(_));
            let counts_as_absent = is_public && denial != Denial::SeveralCredentials;
            // An answer that goes on without the session clears no cookie: it may take long, and the browser
            // may have signed in by then.
            let goes_on = counts_as_absent || route.report_only;
            side.ride = side.ride.filter(|ride| !goes_on || ride.generation.is_some());
            let caller = if counts_as_absent { Ok(None) } else { Err(denial) };
            Authentication { caller, session: Some(Box::new(side)) }
        }
    }
}

/// Authenticates an access token that the request brought, by whatever scheme. Its use also shows that the
/// exchange which it came from reached its browser (`exchange::receipts`).
async fn authenticate_token(
    request: RouteRequest<'_>,
    token: Spelled<'_>,
    brought: Brought<'_>,
) -> Result<Arc<KnownCaller>, Denial> {
    let RouteRequest { gate, live, now, .. } = request;
    let found = authenticate(gate, live, token, brought, now).await?;
    receipts::note_use(gate, live, &found, now);
    Ok(found)
}

fn may_bring_subprotocol(live: &Live, head: &RequestHead<'_>, route: &Route) -> Result<(), Denial> {
    if !head.upgrades {
        return Err(Denial::BadRequest("A token as subprotocol belongs to a request for a WebSocket."));
    }
    let may = route.sharing.lets_bring_token(head.headers, &live.settings.public_url);
    if may { Ok(()) } else { Err(Denial::OriginNotAllowed) }
}

/// Finds the most specific route of the request. Tollgate's own paths have none.
pub(in crate::flows) fn find_route(
    live: &Live,
    head: &RequestHead<'_>,
    path: CanonicalPath,
    own: Option<OwnEndpoint>,
) -> Result<Matched, Denial> {
    if own.is_some() {
        return Err(Denial::NoRoute);
    }
    let host = head.host_name()?;
    let encoded_slash = path.has_encoded_slash();
    match live.routes.find(host, head.method, path) {
        RouteMatch::Route(matched) => Ok(matched),
        RouteMatch::MethodNotAllowed { allow } => Err(Denial::MethodNotAllowed { allow }),
        RouteMatch::Ambiguous(why) => Err(Denial::AmbiguousTarget(why)),
        RouteMatch::Nothing if encoded_slash => Err(Denial::AmbiguousTarget(SLASH)),
        RouteMatch::Nothing | RouteMatch::Hole(_) => Err(Denial::NoRoute),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use http::{HeaderMap, HeaderValue, Method, Request, Response};

    use super::*;
    use crate::config::settings::{Issuer, Settings};
    use crate::core::request::Host;
    use crate::core::route;
    use crate::core::route::policy::{Access, Requirements};
    use crate::core::route::table::{HostPattern, RouteTable};
    use crate::core::secret::Secret;
    use crate::core::session::sealed::KeyRing;
    use crate::flows::ports::{Bounds, Clock, HttpClient, HttpFault, Randomness};
    use crate::flows::testing::{self, FakeStore, MemoryLog};
    use crate::flows::{Operators, Ports};
    use crate::state::issuer_keys::Issuers;
    use crate::state::metrics::Metrics;
    use crate::state::transmitters::Transmitters;

    /// The world outside, which no test here needs.
    #[derive(Debug)]
    struct Nothing;

    impl Clock for Nothing {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }
    }

    impl Randomness for Nothing {
        fn fill(&self, _: &mut [u8]) {}
    }

    impl HttpClient for Nothing {
        fn send(
            &self,
            _: &Issuer,
            _: Request<Bytes>,
            _: Bounds,
        ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
            async { Err(HttpFault::Connect) }.boxed()
        }
    }

    fn route(path: &str, host: Option<&str>, methods: Option<Vec<Method>>, access: Access) -> Arc<Route> {
        Arc::new(Route {
            host: host.map(|host| HostPattern::parse(host).unwrap()),
            methods,
            access,
            ..route::testing::route(path)
        })
    }

    fn live() -> Live {
        let protected = || Access::Protected(Requirements::default().into());
        let routes = vec![
            route("/*", None, None, Access::Public),
            route("/api/*", None, None, protected()),
            route("/api/read", None, Some(vec![Method::GET]), protected()),
            route("/shop/*", Some("*.shop.example"), None, Access::Public),
        ];
        let table = RouteTable::build(&routes).unwrap();
        let settings = Settings { routes, ..testing::settings("http://localhost:8080") };
        Live {
            settings: Arc::new(settings),
            routes: table,
            issuers: Issuers::new(&[], None),
            transmitters: Transmitters::default(),
            cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![7; 32])]).unwrap()),
            assertions: None,
        }
    }

    fn read(host: &str, target: &str) -> Result<Target, Denial> {
        with_head(host, &Method::GET, target, &HeaderMap::new(), |live, head| read_target(live, head))
    }

    fn with_head<T>(
        host: &str,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        then: impl FnOnce(&Arc<Live>, &RequestHead<'_>) -> T,
    ) -> T {
        let client_address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        then(
            &Arc::new(live()),
            &RequestHead {
                method,
                target: target.as_bytes(),
                host: Host::read(host),
                headers,
                upgrades: false,
                client_address,
            },
        )
    }

    fn admitted(method: &Method, target: &str, authorization: Option<&str>) -> Result<Permit, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let log = Arc::new(MemoryLog::default());
        let ports = Ports {
            clock: Arc::new(Nothing),
            random: Arc::new(Nothing),
            http: Arc::new(Nothing),
            store: Arc::new(FakeStore::new(Arc::new(Nothing))),
            revocation_log: log.clone(),
        };
        let (tables, metrics) = (log.tables(), Metrics::new().unwrap());
        let gate = Arc::new(Gate::new(Arc::new(live()), tables, metrics, Operators::default(), ports));
        with_head("localhost:8080", method, target, &headers, |live, head| {
            let target = read_target(live, head)?;
            let judgement = admit(&gate, live, head, target, Timestamp::from_secs(0));
            let admitted = judgement.now_or_never().expect("judging without an issuer to ask never waits");
            admitted.map(|admitted| admitted.permit)
        })
    }

    #[test]
    fn only_known_hosts_are_served_on_any_port() {
        for (host, known) in [
            ("localhost:8080", true),
            ("localhost", true),
            ("localhost:9999", true),
            ("a.shop.example", true),
            ("a.shop.example:443", true),
            ("shop.example", false),
            ("127.0.0.1:8080", false),
            ("localhost.", false),
            ("a.shop.example.", false),
            ("", false),
            ("evil.example", false),
        ] {
            let refused = read(host, "/x").err();
            assert_eq!(refused, (!known).then_some(Denial::UnknownHost), "{host}");
        }
        // RFC 9112 section 3.2: what is no host at all is a bad request.
        for host in
            ["localhost:x", "x/y.shop.example", "x y.shop.example", "u@a.shop.example", ".shop.example"]
        {
            assert!(matches!(read(host, "/x"), Err(Denial::BadRequest(_))), "{host}");
        }
    }

    #[test]
    fn the_target_has_one_reading_or_none() {
        let target = read("localhost", "/%61/b?c=%61&d").unwrap();
        assert_eq!((target.path.as_str(), target.query.as_deref()), ("/a/b", Some("c=%61&d")));
        assert_eq!(read("localhost", "/a?").unwrap().query.as_deref(), Some(""));
        assert_eq!(read("localhost", "/a?b?c").unwrap().query.as_deref(), Some("b?c"));
        for bad in
            ["*", "", "http://localhost/x", "/a/../b", "/a#b", "/a?b#c", "/a?b c", "/a?\r\nX: y", "/a?\u{e9}"]
        {
            assert!(matches!(read("localhost", bad), Err(Denial::AmbiguousTarget(_))), "{bad:?}");
        }
    }

    /// What browsers send as it is grows threefold when it is escaped.
    #[test]
    fn a_target_that_grows_beyond_what_can_be_sent_is_too_large() {
        for (path, query, fits) in [
            (21_844, None, true),
            (21_845, None, false),
            (21_000, Some(2_532), true),
            (21_000, Some(2_534), false),
        ] {
            let query = query.map(|length| format!("?{}", "q".repeat(length))).unwrap_or_default();
            let read = read("localhost", &format!("/{}{query}", "|".repeat(path)));
            assert_eq!(read.err(), (!fits).then_some(Denial::HeaderTooLarge), "{path} {}", query.len());
        }
    }

    #[test]
    fn own_paths_are_never_routed() {
        for (path, own) in [
            ("/oauth/token", Some(OwnEndpoint::Token)),
            ("/%6fauth/token?client_id=x", Some(OwnEndpoint::Token)),
            ("/oauth/backchannel-logout", Some(OwnEndpoint::BackchannelLogout)),
            ("/oauth/backchannel-logout/", Some(OwnEndpoint::Unknown)),
            ("/oauth/token/", Some(OwnEndpoint::Unknown)),
            ("/oauth", Some(OwnEndpoint::Unknown)),
            ("/oauth/login", Some(OwnEndpoint::Login)),
            ("/oauth/callback?code=x", Some(OwnEndpoint::Callback)),
            ("/oauth/callback/portal?code=x", Some(OwnEndpoint::Callback)),
            ("/oauth/callback/", Some(OwnEndpoint::Unknown)),
            ("/oauth/callback/a/b", Some(OwnEndpoint::Unknown)),
            ("/oauth/logout", Some(OwnEndpoint::Logout)),
            ("/oauth/logout/", Some(OwnEndpoint::Unknown)),
            ("/oauth/logout/next?client_id=x", Some(OwnEndpoint::LogoutNext)),
            ("/oauth/logout/next/", Some(OwnEndpoint::Unknown)),
            ("/oauth/session", Some(OwnEndpoint::Session)),
            ("/oauth/session/x", Some(OwnEndpoint::Unknown)),
            ("/oauth/sessions", Some(OwnEndpoint::Unknown)),
            ("/.well-known/jwks.json", Some(OwnEndpoint::AssertionKeys)),
            ("/.well-known/jwks.json/", Some(OwnEndpoint::Unknown)),
            ("/.well-known/oauth-protected-resource", Some(OwnEndpoint::ResourceMetadata)),
            ("/.well-known/oauth-protected-resource/api/x", Some(OwnEndpoint::ResourceMetadata)),
            ("/.well-known/oauth-protected-resources", None),
            ("/.well-known/security.txt", None),
            ("/oauth2/token", None),
            ("/x/oauth/token", None),
        ] {
            assert_eq!(read("localhost", path).unwrap().own, own, "{path}");
            let denied = admitted(&Method::GET, path, None).err().map(|refusal| refusal.denial);
            assert_eq!(denied, own.map(|_| Denial::NoRoute), "{path}");
        }
    }

    #[test]
    fn a_public_route_needs_no_credential_but_refuses_a_bad_one() {
        let permit = admitted(&Method::GET, "/page?x=1", None).unwrap();
        assert_eq!(
            (permit.route().name.as_str(), permit.path().as_str(), permit.query()),
            ("/*", "/page", Some("x=1"))
        );
        assert!(permit.identity().is_empty());
        let refusal = admitted(&Method::GET, "/page", Some("Bearer not.a.token")).unwrap_err();
        assert_eq!(refusal.denial.facts().status, 401);
        assert_eq!(refusal.route.unwrap().name.as_str(), "/*");
        // Not even what is meant for the upstream passes unjudged.
        let refusal = admitted(&Method::GET, "/page", Some("Basic eDp5")).unwrap_err();
        assert_eq!(refusal.denial, Denial::SchemeNotTaken);
    }

    #[test]
    fn a_protected_route_refuses_and_says_which_route_it_was() {
        let refusal = admitted(&Method::GET, "/api/x", None).unwrap_err();
        assert_eq!((refusal.denial, refusal.route.unwrap().name.as_str()), (Denial::NoCredential, "/api/*"));
        let refusal = admitted(&Method::OPTIONS, "/api/x", None).unwrap_err();
        assert_eq!(refusal.denial, Denial::NoCredential, "no method passes by itself");
        let refusal = admitted(&Method::GET, "/api/x", Some("Bearer not.a.token")).unwrap_err();
        assert_eq!(refusal.denial.facts().status, 401);
    }

    #[test]
    fn what_the_most_specific_route_does_not_allow_no_other_allows() {
        let refusal = admitted(&Method::POST, "/api/read", None).unwrap_err();
        assert_eq!(refusal.denial, Denial::MethodNotAllowed { allow: vec![Method::GET] });
        assert!(refusal.route.is_none());
        let refusal = admitted(&Method::GET, "/api;x/y", None).unwrap_err();
        assert!(matches!(refusal.denial, Denial::AmbiguousTarget(_)));
    }
}
