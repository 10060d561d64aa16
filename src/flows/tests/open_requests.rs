//! What goes on until somebody ends it, while the tokens of its session come and go.

mod other_name;
mod over;

use std::sync::atomic::AtomicBool;

use super::*;
use crate::core::caller::Caller;
use crate::core::ids::RouteName;
use crate::core::path::CanonicalPath;
use crate::core::revocation::{Change, GrantIdentity, Kind, Revocation, Rule, Target, Whose};
use crate::core::route;
use crate::core::route::Route;
use crate::core::route::permit::Permit;
use crate::core::route::policy::{Access, Requirements};
use crate::core::route::table::RouteMatch;
use crate::core::session::exchange::Family;
use crate::core::token::binding::Thumbprint;
use crate::core::token::jwks::KeySet;
use crate::core::token::testing::{jwks, new_p256};
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::family::record;
use crate::flows::open_requests::{look, mark_lasting, watch_open_requests};
use crate::state::open_requests::{Ending, OfSession, OpenRequest};
use crate::state::revocations::Revocations;
use crate::state::transmitters::Transmitters;
use crate::state::verified_tokens::KnownCaller;

/// A route for who may read.
pub(super) fn route() -> Arc<Route> {
    Arc::new(Route {
        name: RouteName::new("chat"),
        access: Access::Protected(
            Requirements { scope: vec!["api:read".into()], ..Requirements::default() }.into(),
        ),
        ..route::testing::route("/chat")
    })
}

pub(super) fn permit(caller: Arc<Caller>, now: Timestamp) -> Permit {
    let table = RouteTable::build(&[route()]).unwrap();
    let path = CanonicalPath::parse(b"/chat").unwrap();
    let RouteMatch::Route(matched) = table.find("gate.example", &Method::GET, path) else { panic!() };
    Permit::grant(matched, None, Some(caller), false, now).unwrap()
}

/// A token of alice's that lives for a minute, with these changes.
fn minute(scene: &Scene, jti: &str, changes: Value) -> Instead {
    let now = scene.clock.now().as_secs();
    access_token(scene, with(json!({ "jti": jti, "iat": now, "exp": now + 60 }), changes))
}

fn target(kind: Kind, value: &str) -> Target {
    Target { kind, whose: Whose::Of(AS.into()), value: value.to_owned() }
}

/// A scene with that route.
fn scene() -> Scene {
    let scene = Scene::strict();
    scene.with_routes(vec![route()]);
    scene
}

impl Scene {
    /// As a reload leaves them.
    pub(super) fn with_routes(&self, routes: Vec<Arc<Route>>) {
        self.reloaded(routes, &self.live.settings.issuers);
    }

    fn reloaded(&self, routes: Vec<Arc<Route>>, issuers: &[Arc<Issuer>]) {
        let (live, before) = (self.gate.live.load_full(), &self.live.settings);
        let settings = Settings {
            issuers: issuers.to_vec(),
            clients: before.clients.clone(),
            routes: routes.clone(),
            ..testing::settings(OWN)
        };
        self.gate.live.store(Arc::new(Live {
            settings: Arc::new(settings),
            routes: RouteTable::build(&routes).unwrap(),
            issuers: Issuers::new(issuers, Some(&live.issuers)),
            transmitters: Transmitters::default(),
            cookie_keys: live.cookie_keys.clone(),
            assertions: None,
        }));
    }

    async fn opens_session(&self) -> (String, String) {
        self.next(minute(self, "first", json!({})));
        let answer = self.sign_in().await;
        (cookie_of(&answer), body(&answer)["access_token"].as_str().unwrap().to_owned())
    }

    async fn refreshed(&self, cookie: &str, jti: &str, changes: Value) -> (String, String) {
        self.next(minute(self, jti, changes));
        let answer = self.refresh(cookie).await.unwrap();
        (cookie_of(&answer), body(&answer)["access_token"].as_str().unwrap().to_owned())
    }

    /// Uses a token as a request does.
    async fn brings(&self, token: &str) -> Arc<KnownCaller> {
        self.brings_with(token, None).await
    }

    /// The same, with this key proven.
    async fn brings_with(&self, token: &str, key: Option<Thumbprint>) -> Arc<KnownCaller> {
        let brought = Brought::ByIssuer(&self.live.settings.issuers[0].name, key);
        let found = authenticate(&self.gate, &self.live, token, brought, self.clock.now()).await.unwrap();
        receipts::note_use(&self.gate, &self.live, &found, self.clock.now());
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
        found
    }

    /// Opens what lasts, by this token.
    async fn opens(&self, token: &str) -> Arc<OpenRequest> {
        let caller = self.brings(token).await;
        let open = self.gate.open_requests.enter(caller.clone(), None);
        mark_lasting(&self.gate, &open, &permit(caller, self.clock.now()));
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
        open
    }

    pub(super) fn ending(&self, open: &OpenRequest) -> Option<Ending> {
        look(&self.gate);
        open.ending()
    }

    async fn revokes(&self, kind: Kind, value: &str) {
        let revocation = Revocation::new(target(kind, value), Rule::Outright, self.clock.now());
        crate::flows::ports::RevocationLog::append(&*self.log, &[Change::Add(revocation)]).await.unwrap();
    }
}

#[tokio::test]
async fn it_ends_with_its_token_unless_its_session_has_got_another() {
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let kept = scene.opens(&first).await;
    scene.pass(59);
    assert_eq!(scene.ending(&kept), None);
    scene.refreshed(&cookie, "second", json!({})).await;
    scene.pass(59);
    assert_eq!(scene.ending(&kept), None, "it goes on by the second");
    assert_eq!(kept.token().token().id(), Some("second"));
    scene.pass(2);
    assert_eq!(scene.ending(&kept), Some(Ending::Expired));
}

/// Within a second it is promised, on every replica; the rest of it is for the list to get there.
#[tokio::test(start_paused = true)]
async fn what_is_revoked_ends_half_a_second_later_at_most() {
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let (_, second) = scene.refreshed(&cookie, "second", json!({})).await;
    let (before, open) = (scene.opens(&first).await, scene.opens(&second).await);
    // As the log does it, and at once: this clock runs on while anybody waits.
    let revoked = |jti| {
        let revocation = Revocation::new(target(Kind::Jti, jti), Rule::Outright, scene.clock.now());
        scene.gate.revocations.apply(&[Change::Add(revocation)]);
        tokio::time::Instant::now()
    };
    let ending = async |open: &OpenRequest| std::future::poll_fn(|context| open.poll_ending(context)).await;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch_open_requests(scene.gate.clone(), stopped));
    revoked("first");
    assert_eq!(ending(&before).await, Ending::Revoked);
    // A look is just over; nothing is left to wait for but the next.
    let moment = revoked("second");
    assert_eq!((open.ending(), ending(&open).await), (None, Ending::Revoked));
    let took = moment.elapsed();
    assert!(took <= Duration::from_millis(500), "{took:?}");
    watching.abort();
}

#[tokio::test]
async fn a_token_of_somebody_else_or_for_less_keeps_nothing_and_one_for_less_hides_none() {
    for (changes, keeps) in [
        (json!({ "sub": "mallory" }), false),
        (json!({ "scope": "api:write" }), false),
        (json!({ "scope": "api:read more" }), true),
    ] {
        let scene = scene();
        let (_, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.pass(30);
        let Instead::With(second) = minute(&scene, "second", changes.clone()) else { panic!() };
        let second = scene.brings(second["access_token"].as_str().unwrap()).await;
        let id = open.token().marks().unwrap().id;
        let (family, _) = receipts::family_of(&*scene.store, id).await.unwrap().unwrap();
        scene.gate.open_requests.renewed(family, &second, scene.clock.now());
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{changes}");
    }
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let open = scene.opens(&first).await;
    scene.pass(30);
    let (cookie, _) = scene.refreshed(&cookie, "second", json!({})).await;
    scene.pass(1);
    scene.refreshed(&cookie, "for less", json!({ "scope": "api:write" })).await;
    scene.pass(30);
    assert_eq!(scene.ending(&open), None);
}

#[tokio::test]
async fn a_token_that_is_bound_to_another_key_or_to_none_keeps_nothing() {
    let [one, other] = [1, 2].map(|byte| Some(Thumbprint::from_digest([byte; 32])));
    for (before, after, keeps) in
        [(one, one, true), (one, other, false), (one, None, false), (None, one, false), (None, None, true)]
    {
        let scene = scene();
        // It makes the session known by the token's name.
        scene.opens_session().await;
        let caller = async |jti: &str, key: Option<Thumbprint>| {
            let cnf = key.map_or(json!({}), |key| json!({ "cnf": { "jkt": key.to_string() } }));
            let Instead::With(token) = minute(&scene, jti, cnf) else { panic!() };
            scene.brings_with(token["access_token"].as_str().unwrap(), key).await
        };
        let first = caller("first", before).await;
        let open = scene.gate.open_requests.enter(first.clone(), None);
        mark_lasting(&scene.gate, &open, &permit(first, scene.clock.now()));
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
        scene.pass(30);
        let second = caller("second", after).await;
        let id = open.token().marks().unwrap().id;
        let (family, _) = receipts::family_of(&*scene.store, id).await.unwrap().unwrap();
        scene.gate.open_requests.renewed(family, &second, scene.clock.now());
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn a_token_that_another_replica_got_keeps_it_once_it_is_used_here() {
    let here = scene();
    let (cookie, first) = here.opens_session().await;
    let [used, unused] = [here.opens(&first).await, here.replica().opens(&first).await];
    here.pass(30);
    let (_, second) = here.replica().refreshed(&cookie, "second", json!({})).await;
    here.brings(&second).await;
    here.pass(31);
    assert_eq!(here.ending(&used), None);
    assert_eq!(used.token().token().id(), Some("second"));
    assert_eq!(unused.ending(), None, "nobody looked there");
}

#[tokio::test]
async fn a_token_that_came_before_the_answer_began_keeps_it_once_it_is_used_again() {
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let caller = scene.brings(&first).await;
    let open = scene.gate.open_requests.enter(caller.clone(), None);
    let (cookie, second) = scene.refreshed(&cookie, "second", json!({})).await;
    scene.brings(&second).await;
    scene.pass(30);
    mark_lasting(&scene.gate, &open, &permit(caller, scene.clock.now()));
    scene.refreshed(&cookie, "third", json!({})).await;
    scene.brings(&second).await;
    scene.pass(29);
    assert_eq!(scene.ending(&open), None);
    scene.pass(2);
    assert_eq!(scene.ending(&open), None, "by the third");
}

#[tokio::test]
async fn a_route_that_a_reload_took_away_or_made_narrower_keeps_nothing() {
    for (routes, keeps) in [(vec![route()], true), (vec![], false), (vec![narrower()], false)] {
        let scene = scene();
        let (cookie, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.with_routes(routes);
        scene.pass(30);
        scene.refreshed(&cookie, "second", json!({})).await;
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired));
    }
}

#[tokio::test]
async fn an_issuer_that_a_reload_took_away_or_judges_otherwise_keeps_nothing() {
    let changed = |change: fn(&mut Issuer)| {
        let mut issuer = issuer(Duration::from_secs(5));
        change(&mut issuer);
        vec![Arc::new(issuer)]
    };
    for (what, issuers, keeps) in [
        ("the same", changed(|_| {}), true),
        ("asked on another way", changed(|issuer| issuer.timeout = Duration::from_secs(1)), true),
        ("gone", vec![], false),
        ("audience", changed(|issuer| issuer.rules.audiences = vec!["https://other".into()]), false),
        ("algorithms", changed(|issuer| issuer.rules.algorithms = vec![Algorithm::Rs256]), false),
    ] {
        let scene = scene();
        let (cookie, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.pass(30);
        scene.refreshed(&cookie, "second", json!({})).await;
        scene.reloaded(vec![route()], &issuers);
        scene.pass(29);
        assert_eq!(scene.ending(&open), None, "{what}");
        scene.pass(2);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{what}");
    }
}

#[tokio::test]
async fn a_token_whose_key_its_issuer_has_no_more_keeps_nothing() {
    let other = new_p256("other").jwk();
    for (keys, keeps) in [(vec![keys().p256.jwk(), other.clone()], true), (vec![other], false)] {
        let scene = scene();
        let (cookie, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.pass(30);
        scene.refreshed(&cookie, "second", json!({})).await;
        let live = scene.gate.live.load_full();
        let (keys, _) = KeySet::parse(&jwks(&keys)).unwrap();
        let fetch = live.issuers.iter().next().unwrap().begin_fetch(scene.clock.now()).unwrap();
        fetch.succeeded(Arc::new(keys));
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{keeps}");
    }
}

fn narrower() -> Arc<Route> {
    let required = Requirements { scope: vec!["admin".into()], ..Requirements::default() };
    Arc::new(Route { access: Access::Protected(required.into()), ..Arc::unwrap_or_clone(route()) })
}

/// What a request was let in by: the cookie of a session of which `token` is the access token.
pub(super) fn of_session(scene: &Scene, cookie: &str, token: Arc<Caller>) -> Box<OfSession> {
    let (grant, client) = (scene.grant_of(cookie), &scene.live.settings.clients[0]);
    Box::new(OfSession {
        family: grant.family,
        marks: scene.gate.revocations.marks_of_grant(&GrantIdentity::of(&grant)),
        signed_in_at: grant.signed_in_at,
        last_used_at: grant.last_used_at,
        timeouts: session_cookie::timeouts(client),
        client: client.clone(),
        is_asked_about: AtomicBool::new(false),
        token,
    })
}

#[tokio::test]
async fn a_token_that_does_not_name_its_client_is_its_sessions() {
    let scene = scene();
    let clients = Some(vec![(IssuerName::new("demo"), "web-app".to_owned())]);
    let required = Requirements { clients, ..Requirements::default() };
    let of_client =
        Arc::new(Route { access: Access::Protected(required.into()), ..Arc::unwrap_or_clone(route()) });
    scene.with_routes(vec![of_client]);
    let nameless = json!({ "client_id": null });
    scene.next(minute(&scene, "first", nameless.clone()));
    let answer = scene.sign_in().await;
    let cookie = cookie_of(&answer);
    let first = scene.brings(body(&answer)["access_token"].as_str().unwrap()).await;
    let open =
        scene.gate.open_requests.enter(first.clone(), Some(of_session(&scene, &cookie, first.clone())));
    mark_lasting(&scene.gate, &open, &permit(first, scene.clock.now()));
    scene.pass(30);
    scene.refreshed(&cookie, "second", nameless).await;
    scene.pass(31);
    assert_eq!(scene.ending(&open), None);
}

#[tokio::test]
async fn a_session_that_is_used_at_another_replica_is_not_idle() {
    let scene = scene();
    let day = json!({ "exp": scene.clock.now().as_secs() + 20 * 3600 });
    scene.next(minute(&scene, "first", day.clone()));
    let answer = scene.sign_in().await;
    let cookie = cookie_of(&answer);
    let first = scene.brings(body(&answer)["access_token"].as_str().unwrap()).await;
    let open =
        scene.gate.open_requests.enter(first.clone(), Some(of_session(&scene, &cookie, first.clone())));
    mark_lasting(&scene.gate, &open, &permit(first, scene.clock.now()));
    scene.pass(3000);
    let there = scene.replica();
    let (second, _) = there.refreshed(&cookie, "second", day).await;
    // That it was used is known also once its answer has arrived and the next exchange brings nothing.
    scene.pass(31);
    scene.next(Instead::Fault(HttpFault::Connect));
    assert!(there.refresh(&second).await.is_err());
    let looks = async || {
        look(&scene.gate);
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
        open.ending()
    };
    scene.pass(2969);
    assert_eq!(looks().await, None, "idle here for longer than an hour, and used there");
    assert_eq!(looks().await, None);
    scene.pass(3000);
    assert_eq!(looks().await, Some(Ending::SessionOver), "nobody used it anywhere");
}

#[tokio::test]
async fn a_session_that_the_store_says_is_over_is_over_here() {
    let scene = scene();
    let day = json!({ "exp": scene.clock.now().as_secs() + 20 * 3600 });
    scene.next(minute(&scene, "first", day.clone()));
    let answer = scene.sign_in().await;
    let cookie = cookie_of(&answer);
    let first = scene.brings(body(&answer)["access_token"].as_str().unwrap()).await;
    let session = of_session(&scene, &cookie, first.clone());
    let family = session.family;
    let open = scene.gate.open_requests.enter(first.clone(), Some(session));
    mark_lasting(&scene.gate, &open, &permit(first, scene.clock.now()));
    scene.pass(3000);
    let there = scene.replica();
    let (second, _) = there.refreshed(&cookie, "second", day).await;
    // Only the store was told.
    let (grant, timeouts) =
        (there.grant_of(&second), session_cookie::timeouts(&scene.live.settings.clients[0]));
    let ends = |family: &mut Family, _| family.end(SessionEnd::Revoked, Some(grant.generation));
    record::change(&there.gate, &grant, timeouts, ends).await.unwrap();
    scene.pass(1000);
    look(&scene.gate);
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    assert_eq!(open.ending(), Some(Ending::SessionOver), "idle here for longer than an hour, and over there");
    assert!(scene.gate.sessions.family(family).unwrap().is_over(), "for whoever comes next, too");
}

#[tokio::test]
async fn what_is_taken_back_ends_it_also_after_it_went_on_by_another_token() {
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let [one, two] = [scene.opens(&first).await, scene.opens(&first).await];
    scene.pass(30);
    let (cookie, _) = scene.refreshed(&cookie, "second", json!({})).await;
    scene.revokes(Kind::Jti, "second").await;
    scene.pass(31);
    assert_eq!(scene.ending(&one), Some(Ending::Expired), "what is revoked keeps nothing");
    assert_eq!(two.ending(), Some(Ending::Expired));
    let (cookie, third) = scene.refreshed(&cookie, "third", json!({})).await;
    let open = scene.opens(&third).await;
    assert_eq!(scene.ending(&open), None);
    scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
    assert_eq!(scene.ending(&open), Some(Ending::Revoked), "signed out");
}

#[tokio::test]
async fn a_list_that_is_too_old_ends_what_lasts_and_nothing_else() {
    let scene = scene();
    let (_, first) = scene.opens_session().await;
    let lasting = scene.opens(&first).await;
    let download = scene.gate.open_requests.enter(scene.brings(&first).await, None);
    let stale = Scene { gate: Arc::new(stale(&scene)), ..scene };
    let moved = [&lasting, &download].map(|open| {
        let again = stale.gate.open_requests.enter(open.token(), None);
        if open.lasting().is_some() {
            mark_lasting(&stale.gate, &again, &permit(open.token(), stale.clock.now()));
        }
        again
    });
    look(&stale.gate);
    assert_eq!(moved.map(|open| open.ending()), [Some(Ending::RevocationsUnavailable), None]);
}

/// The same gate, whose list was never complete.
fn stale(scene: &Scene) -> Gate {
    let ports = Ports {
        clock: scene.clock.clone(),
        random: scene.gate.random.clone(),
        http: scene.server.clone(),
        store: scene.store.clone(),
        revocation_log: scene.log.clone(),
    };
    let (tables, metrics) = (Arc::new(Revocations::new([7; 16])), Metrics::new().unwrap());
    Gate::new(scene.live.clone(), tables, metrics, Operators::default(), ports)
}

#[tokio::test]
async fn nothing_is_kept_of_what_has_ended() {
    let scene = scene();
    let (cookie, first) = scene.opens_session().await;
    let open = scene.opens(&first).await;
    assert_eq!((scene.gate.open_requests.all().len(), scene.gate.open_requests.sessions()), (1, 1));
    scene.gate.open_requests.leave(&open);
    drop(open);
    scene.refreshed(&cookie, "second", json!({})).await;
    scene.gate.open_requests.sweep();
    assert_eq!((scene.gate.open_requests.all().len(), scene.gate.open_requests.sessions()), (0, 0));
}
