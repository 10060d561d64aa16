//! What goes on until somebody ends it, while the tokens of its session come and go.

use super::*;
use crate::core::caller::Caller;
use crate::core::cors::Sharing;
use crate::core::ids::{RouteName, UpstreamName};
use crate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};
use crate::core::route::forwarding::Forwarding;
use crate::core::route::path::{CanonicalPath, PathPattern};
use crate::core::route::permit::Permit;
use crate::core::route::policy::{Access, Requirements};
use crate::core::route::resource::Resource;
use crate::core::route::table::Found;
use crate::core::route::{CorsSpeaker, Route};
use crate::flows::authenticate::{Brought, authenticate};
use crate::flows::open_requests::{lasts, look};
use crate::state::open_requests::{Ending, OpenRequest};

/// A route for who may read.
fn permit(caller: Arc<Caller>, now: Timestamp) -> Permit {
    let route = Route {
        name: RouteName::new("chat"),
        path: PathPattern::parse("/chat").unwrap(),
        host: None,
        methods: None,
        access: Access::Protected(Requirements { scope: vec!["api:read".into()], ..Requirements::default() }),
        session: None,
        report_only: false,
        resource: Resource::default(),
        upstream: UpstreamName::new("upstream"),
        cors: CorsSpeaker::Gateway,
        sharing: Sharing::default(),
        forwarding: Forwarding::default(),
    };
    let table = RouteTable::build(&[Arc::new(route)]).unwrap();
    let path = CanonicalPath::parse(b"/chat").unwrap();
    let Found::Route(matched) = table.find("gate.example", &Method::GET, path) else { panic!() };
    Permit::grant(matched, None, Some(caller), false, now).unwrap()
}

/// A token of alice's that lives for a minute, with these changes.
fn minute(scene: &Scene, jti: &str, changes: Value) -> Instead {
    let now = scene.clock.now().as_secs();
    access_token(scene, with(json!({ "jti": jti, "iat": now, "exp": now + 60 }), changes))
}

impl Scene {
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
    async fn brings(&self, token: &str) -> Arc<Caller> {
        let brought = Brought::ByIssuer(&self.live.settings.issuers[0].name);
        let found = authenticate(&self.gate, &self.live, token, brought, self.clock.now()).await.unwrap();
        receipts::seen(&self.gate, &self.live, &found);
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
        found
    }

    /// Opens what lasts, by this token.
    async fn opens(&self, token: &str) -> Arc<OpenRequest> {
        let caller = self.brings(token).await;
        let open = self.gate.open_requests.enter(caller.clone(), None);
        lasts(&self.gate, &open, &permit(caller, self.clock.now()));
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
        open
    }

    fn ending(&self, open: &OpenRequest) -> Option<Ending> {
        look(&self.gate);
        open.ending()
    }

    async fn revokes(&self, kind: Kind, value: &str) {
        let target = Target { kind, whose: Whose::Of(AS.into()), value: value.to_owned() };
        let made_at = self.clock.now();
        let revocation =
            Revocation { target, rule: Rule::Outright, until: None, made_at, made_by: None, reason: None };
        crate::flows::ports::RevocationLog::append(&*self.log, &[Change::Add(revocation)]).await.unwrap();
    }
}

#[tokio::test]
async fn it_ends_with_its_token_unless_its_session_has_got_another() {
    let scene = Scene::strict();
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

#[tokio::test]
async fn a_token_of_somebody_else_or_for_less_keeps_nothing_and_one_for_less_hides_none() {
    for (changes, keeps) in [
        (json!({ "sub": "mallory" }), false),
        (json!({ "scope": "api:write" }), false),
        (json!({ "scope": "api:read more" }), true),
    ] {
        let scene = Scene::strict();
        let (_, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.pass(30);
        let Instead::With(second) = minute(&scene, "second", changes.clone()) else { panic!() };
        let second = scene.brings(second["access_token"].as_str().unwrap()).await;
        let id = open.token().marks().unwrap().id;
        let (family, _) = receipts::family_of(&*scene.store, id).await.unwrap();
        scene.gate.open_requests.renewed(family, &second, scene.clock.now());
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{changes}");
    }
    let scene = Scene::strict();
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
async fn a_token_that_another_replica_got_keeps_it_once_it_is_used_here() {
    let here = Scene::strict();
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
async fn what_is_taken_back_ends_it_also_after_it_went_on_by_another_token() {
    let scene = Scene::strict();
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
    let scene = Scene::strict();
    let (_, first) = scene.opens_session().await;
    let lasting = scene.opens(&first).await;
    let download = scene.gate.open_requests.enter(scene.brings(&first).await, None);
    let stale = Scene { gate: Arc::new(stale(&scene)), ..scene };
    let moved = [&lasting, &download].map(|open| {
        let again = stale.gate.open_requests.enter(open.token(), None);
        if open.lasting().is_some() {
            lasts(&stale.gate, &again, &permit(open.token(), stale.clock.now()));
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
        revocations: Arc::new(crate::state::revocations::Revocations::new([7; 16])),
        revocation_log: scene.log.clone(),
    };
    Gate::new(scene.live.clone(), Metrics::new().unwrap(), Operators::default(), ports)
}

#[tokio::test]
async fn nothing_is_kept_of_what_has_ended() {
    let scene = Scene::strict();
    let (cookie, first) = scene.opens_session().await;
    let open = scene.opens(&first).await;
    assert_eq!((scene.gate.open_requests.all().len(), scene.gate.open_requests.sessions()), (1, 1));
    scene.gate.open_requests.leave(&open);
    drop(open);
    scene.refreshed(&cookie, "second", json!({})).await;
    scene.gate.open_requests.sweep();
    assert_eq!((scene.gate.open_requests.all().len(), scene.gate.open_requests.sessions()), (0, 0));
}
