//! What a gateway with this configuration would make of a request, step by step: `tollgate explain`. It asks
//! the same functions in the same order as [`crate::flows::admit`], and says of each what came of it; it
//! judges nothing by itself.
//!
//! - `token`: what a token says, check by check; `required`: what it has of what is required
//! - `session`: who may use one; `shared`: whose pages may read the answer
//!
//! What only a running gateway knows is said to be unasked: what was taken back, and the brakes. It must
//! never say the token; what the token says of itself it may.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use crate::config::settings::Upstream;
use crate::config::summary;
use crate::core::brake::Tally;
use crate::core::caller::Caller;
use crate::core::challenge::www_authenticate;
use crate::core::denial::Denial;
use crate::core::path::CanonicalPath;
use crate::core::request::{RequestHead, check_method};
use crate::core::route::permit::Permit;
use crate::core::route::policy::{Access, Requirements, judge};
use crate::core::route::table::{Matched, RouteMatch, RouteTable};
use crate::core::route::{Dpop, Route};
use crate::core::time::Timestamp;
use crate::core::token::bearer::{self, Carried, Scheme, carried};
use crate::core::token::check::{Check, Failed};
use crate::core::token::facts::TokenFacts;
use crate::core::token::verified::VerifiedToken;
use crate::flows::admit::{Target, find_route, read_target};
use crate::flows::authenticate::{OnUnknownKey, verify_jwt};
use crate::flows::brought::Brought;
use crate::flows::describe_resource::describe_resource;
use crate::flows::explain::token::Told;
use crate::flows::introspect::whom_to_ask;
use crate::flows::keep_keys_fresh::Means;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::prove_possession::Presentation;
use crate::state::live::Live;

mod required;
mod session;
mod shared;
mod token;

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Holds,
    Fails,
    /// Something before it failed.
    NotReached,
    /// Only a running gateway could tell.
    NotAsked,
}

/// One step, in words.
#[derive(Clone, Debug)]
pub struct Step {
    /// `method`, `target`, `route`, `cors`, `token`, `session`, `require`, `headers`
    pub part: &'static str,
    pub outcome: Outcome,
    pub what: String,
    pub about: String,
}

/// What becomes of the request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to this upstream; anonymously where the permit says that it is only reported. With the header
    /// that carries the assertion, where one is made.
    Passes(Box<Permit>, Arc<Upstream>, Option<HeaderName>),
    /// Tollgate answers it itself.
    Own,
    Refused {
        denial: Denial,
        challenges: Option<HeaderValue>,
    },
}

/// The whole story.
#[derive(Debug)]
pub struct Explanation {
    pub steps: Vec<Step>,
    /// What the token says of itself, each claim a line; believed only when its signature held.
    pub claims: Vec<(String, String)>,
    pub claims_are_proven: bool,
    pub verdict: Verdict,
}

/// Explains. What the request brings stands in `head`.
pub(crate) async fn explain(
    means: Means<'_>,
    live: &Live,
    head: &RequestHead<'_>,
    now: Timestamp,
) -> Explanation {
    let mut story = Story { live, head, now, steps: Vec::new(), claims: Vec::new(), proven: false };
    let verdict = match story.judged(means).await {
        Ok(verdict) => verdict,
        Err((denial, route)) => {
            let at = head.host_name().ok().map(|host| live.settings.public_url.at(host));
            let used = bearer::scheme(head.headers);
            let challenges = www_authenticate(&denial, route.as_deref().zip(at.as_ref()), used);
            Verdict::Refused { denial, challenges }
        }
    };
    let Story { steps, claims, proven, .. } = story;
    Explanation { steps, claims, claims_are_proven: proven, verdict }
}

/// What was found so far.
struct Story<'a> {
    live: &'a Live,
    head: &'a RequestHead<'a>,
    now: Timestamp,
    steps: Vec<Step>,
    claims: Vec<(String, String)>,
    proven: bool,
}

/// Why it ends, and the route if one was found.
type Refused = (Denial, Option<Arc<Route>>);

impl Story<'_> {
    fn say(
        &mut self,
        part: &'static str,
        outcome: Outcome,
        what: impl Into<String>,
        about: impl Into<String>,
    ) {
        self.steps.push(Step { part, outcome, what: what.into(), about: about.into() });
    }

    async fn judged(&mut self, means: Means<'_>) -> Result<Verdict, Refused> {
        check_method(self.head.method).map_err(|denial| {
            self.say("method", Outcome::Fails, "one that is served", denial.facts().detail);
            (denial, None)
        })?;
        let target = read_target(self.live, self.head).map_err(|denial| {
            self.say("target", Outcome::Fails, "one reading", denial.facts().detail);
            (denial, None)
        })?;
        self.say("target", Outcome::Holds, target.path.as_str(), "as it is judged and sent");
        if let Some(endpoint) = target.own {
            return self.own(endpoint, &target).map_err(|denial| (denial, None));
        }
        let matched = self.routed(target.path)?;
        let route = matched.route().clone();
        self.required_address(&route);
        let readers = shared::with_whom(&route, &self.live.settings.public_url);
        self.say("cors", Outcome::NotAsked, "pages of other origins", readers);
        let query = target.query;
        let brought = self.authenticated(means, &route, query.as_deref()).await;
        self.required(&route, matched.path(), brought.as_ref().ok().map(Option::as_ref));
        let permit = match brought {
            Ok(None) if is_for_sessions(&route) => {
                Permit::without_credential(matched, query, Denial::NotSignedIn { ended: None })
            }
            Ok(token) => {
                let headers = &self.live.settings.identity.headers;
                let caller = |token| -> Arc<Caller> { Arc::new(Caller::new(token, headers, ())) };
                let forwards = route.forwarding.identity.forwards_access_token;
                Permit::grant(matched, query, token.map(caller), forwards, self.now)
            }
            Err(denial) => Permit::without_credential(matched, query, denial),
        };
        let permit = permit.map_err(|not| (not.denial, Some(not.route)))?;
        self.say_what_is_left_out(&permit);
        let mut upstreams = self.live.settings.upstreams.iter();
        let upstream = upstreams.find(|upstream| route.upstream.as_ref() == Some(&upstream.name));
        let upstream = upstream.cloned().ok_or_else(|| (Denial::Internal, Some(route.clone())))?;
        let asserted = route.forwarding.identity.assertion.as_ref().filter(|_| permit.token().is_some());
        let asserted = asserted.map(|rules| rules.header.clone());
        Ok(Verdict::Passes(Box::new(permit), upstream, asserted))
    }

    /// The headers of the route that the token does not fill, because their claims stand elsewhere.
    fn say_what_is_left_out(&mut self, permit: &Permit) {
        let Some(token) = permit.token() else { return };
        let live = self.live;
        let lists = &live.settings.identity.headers;
        for (header, claim) in permit.route().forwarding.identity.headers.of(lists) {
            if token.claims().has_elsewhere(claim) {
                self.say(
                    "headers",
                    Outcome::Fails,
                    format!("{header} ({claim})"),
                    format!("left out: {}", required::ELSEWHERE),
                );
            }
        }
    }

    fn own(&mut self, endpoint: OwnEndpoint, target: &Target) -> Result<Verdict, Denial> {
        let is_there = match endpoint {
            OwnEndpoint::Unknown => Err(Denial::NoRoute),
            OwnEndpoint::AssertionKeys if self.live.settings.identity.assertion_keys.is_none() => {
                Err(Denial::NoRoute)
            }
            OwnEndpoint::Events if self.live.transmitters.is_empty() => Err(Denial::NoRoute),
            _ => Ok(()),
        };
        let served = is_there.and_then(|()| endpoint.takes(self.head.method)).and_then(|()| match endpoint {
            OwnEndpoint::ResourceMetadata => describe_resource(self.live, self.head, target).map(drop),
            _ => Ok(()),
        });
        match &served {
            Ok(()) => self.say("route", Outcome::Holds, "none", "Tollgate answers at this path itself"),
            Err(Denial::MethodNotAllowed { allow }) => {
                self.say("route", Outcome::Holds, "none", "Tollgate answers at this path itself");
                let methods: Vec<&str> = allow.iter().map(Method::as_str).collect();
                let about = format!("this path takes {}", methods.join(", "));
                self.say("method", Outcome::Fails, "one that is served", about);
            }
            Err(_) => {
                self.say("route", Outcome::Fails, "none", "this path is Tollgate's own, and nothing is there")
            }
        }
        served.map(|()| Verdict::Own)
    }

    fn routed(&mut self, path: CanonicalPath) -> Result<Matched, Refused> {
        let found = find_route(self.live, self.head, path.clone(), None);
        let winner = match &found {
            Ok(matched) => {
                let route = matched.route().clone();
                self.say("route", Outcome::Holds, summary::show_route(&route), "");
                Some(route)
            }
            Err(denial) => {
                let hole = self.hole(&path);
                let what = hole.as_deref().map_or("the most specific one".to_owned(), summary::show_route);
                self.say("route", Outcome::Fails, what, denial.facts().detail);
                hole
            }
        };
        let routes = self.live.settings.routes.clone();
        for other in routes.iter().filter(|other| winner.as_ref().is_none_or(|it| !Arc::ptr_eq(it, other))) {
            if let Some(why) = self.loses(other, winner.as_deref(), &path) {
                self.say("route", Outcome::NotReached, format!("not {}", other.name), why);
            }
        }
        found.map_err(|denial| (denial, None))
    }

    /// The route by which nothing is served at this path, where one says so.
    fn hole(&self, path: &CanonicalPath) -> Option<Arc<Route>> {
        let host = self.head.host_name().ok()?;
        match self.live.routes.find(host, self.head.method, path.clone()) {
            RouteMatch::Hole(hole) => Some(hole),
            _ => None,
        }
    }

    /// Why a route that covers this path, if perhaps in another case, is not the one; `None` where it does
    /// not cover it.
    fn loses(
        &self,
        other: &Arc<Route>,
        winner: Option<&Route>,
        path: &CanonicalPath,
    ) -> Option<&'static str> {
        let host = self.head.host_name().ok()?;
        let alone = RouteTable::build(std::slice::from_ref(other)).ok()?;
        match alone.find(host, self.head.method, path.clone()) {
            RouteMatch::Nothing => {
                alone.covers_but_for_case(host, path).then_some("its path differs in upper and lower case")
            }
            RouteMatch::Ambiguous(_) if path.has_encoded_slash() && !other.path.keeps_encoded_slashes() => {
                Some("it does not say `encoded_slash: keep`")
            }
            RouteMatch::Ambiguous(_) => Some("the path has two readings"),
            RouteMatch::MethodNotAllowed { .. } => Some("it does not have this method"),
            RouteMatch::Route(_) | RouteMatch::Hole(_) => Some(match winner {
                None => "another is more specific, and nothing falls back",
                Some(winner) if winner.path.as_str() != other.path.as_str() => "its path is less specific",
                Some(winner) if winner.host != other.host => "its host is less specific",
                Some(_) => "it does not name the method",
            }),
        }
    }

    /// The token that came along and holds.
    async fn authenticated(
        &mut self,
        means: Means<'_>,
        route: &Route,
        query: Option<&str>,
    ) -> Result<Option<VerifiedToken>, Denial> {
        let spelled = carried(self.head.headers, query).and_then(|carried| match carried {
            Some(Carried::Authorization(scheme, token)) => token.text().map(|text| Some((scheme, text))),
            _ => Ok(None),
        });
        let spelled = spelled.inspect_err(|denial| {
            self.say("token", Outcome::Fails, "one credential", denial.facts().detail);
        })?;
        let Some((scheme, text)) = spelled else {
            self.say_without_token(route);
            return Ok(None);
        };
        let brought = Brought::ByRequest {
            to: &route.access,
            from: self.head.client_address,
            tally: Tally::of(route, self.head.headers),
            by: Presentation::Having,
        };
        if let Some(issuer) = whom_to_ask(self.live, text.into(), brought) {
            let about =
                format!("only {} knows what this token is; a running gateway asks it", issuer.settings.name);
            self.say("token", Outcome::NotAsked, "introspection", about);
            return Err(Denial::IntrospectionUnavailable);
        }
        let limit = self.live.settings.limits.token;
        let on_unknown_key = OnUnknownKey::Refuse;
        let judged = verify_jwt(means, &self.live.issuers, limit, text, on_unknown_key, self.now).await;
        self.say_checks(text, judged.as_ref().err());
        let token = judged?.token;
        self.say("token", Outcome::NotAsked, "revocations", "only a running gateway knows what was revoked");
        self.possession(&token, scheme)?;
        Ok(Some(token))
    }

    /// Says that no token came, and what else would be a credential on the route.
    fn say_without_token(&mut self, route: &Route) {
        let about = match &route.session {
            Some(takes) => {
                format!("no credential comes along; a session cookie of `{}` would be one", takes.client)
            }
            None => "no credential comes along".to_owned(),
        };
        self.say("token", Outcome::Holds, "none", about);
        self.session(route);
    }

    /// Says of each check of a JWT whether it held. `failed`: the first that did not, if any.
    fn say_checks(&mut self, text: &str, failed: Option<&Failed>) {
        let told = Told::of(self.live, text, self.now);
        for check in Check::ALL {
            let (outcome, about) = match failed {
                Some(Failed { check: failed, denial }) if *failed == check => {
                    (Outcome::Fails, [denial.facts().detail, &told.against(check, denial)].join(" "))
                }
                Some(Failed { check: failed, .. }) if *failed < check => (Outcome::NotReached, String::new()),
                _ => (Outcome::Holds, told.about(check)),
            };
            self.say("token", outcome, check.label(), about.trim().to_owned());
        }
        self.claims = told.claims();
        self.proven = failed.is_none_or(|failed| failed.check > Check::Signature);
    }

    /// Which requests may use a session of the route; which this one is only its browser could say.
    fn session(&mut self, route: &Route) {
        let Some(takes) = &route.session else { return };
        let client = self.live.settings.client(&takes.client);
        let Some((client, mode)) = client.and_then(|client| Some((client, client.session.as_ref()?))) else {
            return;
        };
        let who = session::who_may_use(client, mode, takes.signs_in);
        self.say("session", Outcome::NotAsked, "who may use it", who);
    }

    /// Whether the token came in the way that it asks for. Its proof is made by the caller, for one request
    /// alone.
    fn possession(&mut self, token: &VerifiedToken, scheme: Scheme) -> Result<(), Denial> {
        let denial = match (token.bound_to(), scheme) {
            (None, Scheme::Bearer) => return Ok(()),
            (Some(key), Scheme::Dpop) => {
                let about = format!(
                    "with each request one of the key {key} must come in DPoP; a running gateway looks at it"
                );
                self.say("token", Outcome::NotAsked, "proof", about);
                return Ok(());
            }
            (Some(_), Scheme::Bearer) => Denial::BoundTokenAsBearer,
            (None, Scheme::Dpop) => Denial::TokenNotBound,
        };
        self.say("token", Outcome::Fails, "proof", denial.facts().detail);
        Err(denial)
    }

    fn required_address(&mut self, route: &Route) {
        if let Some(networks) = &route.from {
            let about = "only a running gateway knows the client's address; it looks at it first";
            self.say("require", Outcome::NotAsked, format!("address in {networks}"), about);
        }
    }

    /// What a public route asks of a token that comes along.
    fn required_issuer(
        &mut self,
        route: &Route,
        path: &CanonicalPath,
        token: Option<Option<&VerifiedToken>>,
    ) {
        let what = summary::show_access(&route.access);
        let (outcome, about) = match token {
            None => (Outcome::NotReached, String::new()),
            Some(None) => (Outcome::Holds, "no token comes along".to_owned()),
            Some(Some(token)) => {
                let holds = judge(route, path, Some(TokenFacts::from(token)), self.now).is_ok();
                let about = format!("the token has {}", token.issuer());
                (if holds { Outcome::Holds } else { Outcome::Fails }, about)
            }
        };
        self.say("require", outcome, what, about);
    }

    /// `token`: the one that holds, if any came; `None` where one came that does not.
    fn required(&mut self, route: &Route, path: &CanonicalPath, token: Option<Option<&VerifiedToken>>) {
        if route.dpop == Dpop::Required {
            let outcome = match token {
                None | Some(None) => Outcome::NotReached,
                Some(Some(token)) if token.bound_to().is_none() => Outcome::Fails,
                Some(Some(_)) => Outcome::Holds,
            };
            self.say("require", outcome, "dpop: a token is bound to a key", "");
        }
        // Each requirement is looked at alone.
        let route = &Route { dpop: Dpop::Allowed, ..route.clone() };
        let alternatives = match &route.access {
            Access::Protected(alternatives) => alternatives,
            Access::Public if route.from.is_some() => {
                return self.say("require", Outcome::Holds, "nothing more", "the route is public");
            }
            Access::Public => return self.say("require", Outcome::Holds, "nothing", "the route is public"),
            Access::PublicOf(_) => return self.required_issuer(route, path, token),
        };
        if matches!(token, Some(None)) {
            self.say("require", Outcome::Fails, "a valid token", "");
        }
        let each: Vec<&Requirements> = alternatives.iter().collect();
        let several = match each.as_slice() {
            [only] => return self.say_each(route, path, only, "", token.flatten()),
            several => several,
        };
        self.say_each(route, path, &alternatives.shared(), "", token.flatten());
        for (at, alternative) in several.iter().enumerate() {
            let alone = alternative.unshared();
            let name = format!("alternative {} of {}", at + 1, several.len());
            let outcome = self.outcome(route, path, &alone, token.flatten());
            self.say("require", outcome, name, "");
            self.say_each(route, path, &alone, "  ", token.flatten());
        }
    }

    /// Each requirement alone. `indent`: before each line.
    fn say_each(
        &mut self,
        route: &Route,
        path: &CanonicalPath,
        required: &Requirements,
        indent: &str,
        token: Option<&VerifiedToken>,
    ) {
        for alone in required.one_by_one() {
            let what = format!("{indent}{}", summary::each_requirement(&alone).join(", "));
            let about = token.map(|token| required::brought(&alone, token)).unwrap_or_default();
            let outcome = self.outcome(route, path, &alone, token);
            self.say("require", outcome, what, about);
        }
    }

    /// Whether the token has what is required on this route, looked at alone.
    fn outcome(
        &self,
        route: &Route,
        path: &CanonicalPath,
        required: &Requirements,
        token: Option<&VerifiedToken>,
    ) -> Outcome {
        let Some(token) = token else { return Outcome::NotReached };
        let only = Route { access: Access::Protected(required.clone().into()), ..route.clone() };
        let holds = judge(&only, path, Some(TokenFacts::from(token)), self.now).is_ok();
        if holds { Outcome::Holds } else { Outcome::Fails }
    }
}

/// Whether who brings nothing is told to sign in.
fn is_for_sessions(route: &Route) -> bool {
    route.session.is_some() && matches!(route.access, Access::Protected(_))
}
