//! What is remembered of a token never says anything that the whole judgement would not say.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bolero::TypeGenerator;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use serde_json::json;

use super::*;
use crate::config::settings::{Identity, Issuer, KeySource, Settings};
use crate::core::identity_headers::WhichList;
use crate::core::ids::IssuerName;
use crate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};
use crate::core::route;
use crate::core::route::Route;
use crate::core::route::forwarding::Forwarding;
use crate::core::route::identity::RouteIdentity;
use crate::core::route::policy::{Access, Alternatives, Requirements};
use crate::core::route::table::RouteTable;
use crate::core::secret::Secret;
use crate::core::session::sealed::KeyRing;
use crate::core::token::testing::{ISS, NOW, TestKey, claims, jwks as jwks_of, keys, with};
use crate::flows::ports::{Bounds, Clock, HttpClient, HttpFault, Randomness, RevocationLog as _};
use crate::flows::testing::{self, FakeStore, MemoryLog};
use crate::flows::{Operators, Ports};
use crate::state::issuer_keys::testing::issuer;
use crate::state::metrics::Metrics;
use crate::state::transmitters::Transmitters;

/// A clock that is set, and an issuer that does not answer: at once, or while it hangs never.
#[derive(Debug)]
struct World {
    now: AtomicI64,
    /// How often it was asked for the time.
    looks: AtomicUsize,
    hangs: AtomicBool,
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }
}

impl Randomness for World {
    fn fill(&self, _: &mut [u8]) {}
}

impl HttpClient for World {
    fn send(
        &self,
        _: &Issuer,
        _: Request<Bytes>,
        _: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        async {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Err(HttpFault::Connect)
        }
        .boxed()
    }
}

/// The same gateway twice: one remembers, the other judges each time.
struct Scene {
    world: Arc<World>,
    log: Arc<MemoryLog>,
    live: Arc<Live>,
    remembers: Arc<Gate>,
    judges: Arc<Gate>,
}

fn live(audience: &str, subject_header: &'static str, before: Option<&Live>) -> Live {
    let mut issuer: Issuer = issuer(ISS, KeySource::Discovery(None));
    issuer.rules.audiences = vec![audience.to_owned()];
    issuer.timeout = Duration::from_millis(100);
    let issuers = vec![Arc::new(issuer)];
    let identity = Identity {
        headers: vec![vec![(HeaderName::from_static(subject_header), "sub".to_owned())]],
        default: RouteIdentity::default(),
        assertion_keys: None,
    };
    let settings =
        Settings { issuers: issuers.clone(), identity, ..testing::settings("https://gate.example") };
    Live {
        settings: Arc::new(settings),
        routes: RouteTable::build(&[]).unwrap(),
        issuers: Issuers::new(&issuers, before.map(|before| &before.issuers)),
        transmitters: Transmitters::default(),
        cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![5; 32])]).unwrap()),
        assertions: None,
    }
}

const AUDIENCE: &str = crate::core::token::testing::AUDIENCE;
const SUBJECT: &str = "x-auth-subject";

impl Scene {
    async fn new() -> Self {
        let now = AtomicI64::new(NOW.as_millis());
        let world = Arc::new(World { now, looks: AtomicUsize::new(0), hangs: AtomicBool::new(false) });
        let log = Arc::new(MemoryLog::default());
        let live = Arc::new(live(AUDIENCE, SUBJECT, None));
        let gate = || {
            let ports = Ports {
                clock: world.clone(),
                random: world.clone(),
                http: world.clone(),
                store: Arc::new(FakeStore::new(world.clone())),
                revocation_log: log.clone(),
            };
            let (tables, metrics) = (log.tables(), Metrics::new().unwrap());
            Arc::new(Gate::new(live.clone(), tables, metrics, Operators::default(), ports))
        };
        let (remembers, judges) = (gate(), gate());
        judges.verified_tokens.set_limit(0);
        let scene = Self { remembers, judges, world, log, live };
        scene.publishes(&[&keys().p256]).await;
        scene
    }

    fn now(&self) -> Timestamp {
        self.world.now()
    }

    fn passes(&self, by: Duration) {
        self.world.now.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The issuer's keys are these from now on. A fetch that a request has begun ends first.
    async fn publishes(&self, keys: &[&TestKey]) {
        let jwks: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        let set = KeySet::parse(&jwks_of(&jwks)).unwrap().0;
        let issuer = self.live.issuers.iter().next().unwrap();
        let mut landings = issuer.landings();
        let flight = loop {
            match issuer.begin_fetch(self.now()) {
                Some(flight) => break flight,
                None => landings.changed().await.unwrap(),
            }
        };
        flight.succeeded(Arc::new(set));
    }

    fn reload(&mut self, audience: &str, subject_header: &'static str) {
        self.live = Arc::new(live(audience, subject_header, Some(&self.live)));
    }

    async fn change(&self, change: Change) {
        self.log.append(&[change]).await.unwrap();
    }

    async fn recalls(&self, token: &str) -> Result<Arc<KnownCaller>, Denial> {
        authenticate(
            &self.remembers,
            &self.live,
            token,
            Brought::ByIssuer(&IssuerName::new("demo"), None),
            self.now(),
        )
        .await
    }

    /// What both say, which is one thing.
    async fn says(&self, token: &str) -> Result<(), Denial> {
        let remembered = self.recalls(token).await;
        let judged = authenticate(
            &self.judges,
            &self.live,
            token,
            Brought::ByIssuer(&IssuerName::new("demo"), None),
            self.now(),
        )
        .await;
        match (remembered, judged) {
            (Ok(remembered), Ok(judged)) => {
                for name in self.live.settings.read_claims().names() {
                    let [kept, all] = [&remembered, &judged].map(|of| of.token().claims().get(name).cloned());
                    assert_eq!(kept, all, "{name}");
                }
                assert_eq!(remembered.identity(WhichList::default()), judged.identity(WhichList::default()));
                Ok(())
            }
            (Err(remembered), Err(judged)) => {
                assert_eq!(remembered, judged);
                Err(judged)
            }
            (remembered, judged) => panic!("remembered: {remembered:?}, judged: {judged:?}"),
        }
    }

    fn counted(&self, path: &str) -> bool {
        let text = String::from_utf8(self.remembers.metrics.render().unwrap()).unwrap();
        text.contains(&format!("tollgate_tokens_verified_total{{issuer=\"demo\",path={path}"))
    }
}

fn token() -> String {
    keys().p256.sign(&with(claims(), json!({ "jti": "one" })))
}

fn revocation(kind: Kind, value: &str, rule: Rule) -> Revocation {
    let target = Target { kind, whose: Whose::Of(ISS.to_owned()), value: value.to_owned() };
    Revocation::new(target, rule, NOW)
}

#[tokio::test]
async fn what_was_verified_is_not_verified_again() {
    let scene = Scene::new().await;
    let token = token();
    let first = scene.recalls(&token).await.unwrap();
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&first, &scene.recalls(&token).await.unwrap()));
    }
    assert!(scene.counted(r#""verified"} 1"#) && scene.counted(r#""cached"} 3"#));
    assert!(scene.recalls(&format!("{token}x")).await.is_err(), "another text is another token");
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_time_its_key_and_its_configuration() {
    let mut scene = Scene::new().await;
    let token = token();
    assert_eq!(scene.says(&token).await, Ok(()));
    scene.publishes(&[&keys().p256, &keys().ed]).await;
    assert_eq!(scene.says(&token).await, Ok(()), "its key is still there");
    scene.publishes(&[&keys().ed]).await;
    let says = scene.says(&token).await;
    assert!(matches!(says, Err(Denial::KeyNotKnownYet { .. })), "its issuer is asked again later: {says:?}");
    scene.publishes(&[&keys().p256]).await;
    assert_eq!(scene.says(&token).await, Ok(()));
    scene.reload("https://other.example", SUBJECT);
    assert_eq!(scene.says(&token).await, Err(Denial::WrongAudience));
    scene.reload(AUDIENCE, "x-auth-user");
    assert_eq!(scene.says(&token).await, Ok(()), "with the header that is configured now");
    scene.passes(Duration::from_secs(24 * 3600));
    assert_eq!(scene.says(&token).await, Err(Denial::TokenExpired));
    assert_eq!(scene.remembers.verified_tokens.held().0, 0, "what has expired is forgotten");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_any_more_are_no_grounds_for_what_is_remembered_either() {
    let scene = Scene::new().await;
    let day = 24 * 3600;
    let long = json!({ "iat": NOW.as_secs() + day, "exp": NOW.as_secs() + day + 600 });
    let token = keys().p256.sign(&with(claims(), long));
    scene.passes(Duration::from_secs(24 * 3600 - 5));
    assert_eq!(scene.says(&token).await, Ok(()), "an outage of the issuer is none of ours");
    scene.passes(Duration::from_secs(10));
    assert_eq!(scene.says(&token).await, Err(Denial::KeysUnavailable));
}

#[tokio::test]
async fn a_revocation_is_obeyed_at_once_and_so_is_its_lifting() {
    let scene = Scene::new().await;
    let token = token();
    assert_eq!(scene.says(&token).await, Ok(()));
    for (kind, value, rule) in [
        (Kind::Jti, "one", Rule::Outright),
        (Kind::Sub, "alice", Rule::Before(NOW)),
        (Kind::Kid, keys().p256.kid, Rule::Outright),
    ] {
        let revocation = revocation(kind, value, rule);
        scene.change(Change::Add(revocation.clone())).await;
        assert_eq!(scene.says(&token).await, Err(Denial::Revoked), "{kind:?}");
        scene.change(Change::Lift(revocation)).await;
        assert_eq!(scene.says(&token).await, Ok(()), "{kind:?}");
    }
}

#[tokio::test]
async fn a_good_token_that_was_taken_back_is_verified_once_however_often_it_comes() {
    let scene = Scene::new().await;
    let (token, taken_back) = (token(), revocation(Kind::Jti, "one", Rule::Outright));
    scene.change(Change::Add(taken_back.clone())).await;
    for _ in 0..3 {
        assert_eq!(scene.says(&token).await, Err(Denial::Revoked));
    }
    assert!(scene.counted(r#""verified"} 1"#) && scene.counted(r#""cached"} 2"#));
    scene.change(Change::Lift(taken_back)).await;
    assert_eq!(scene.says(&token).await, Ok(()));
}

#[tokio::test]
async fn no_other_spelling_of_a_remembered_token_passes() {
    let (scene, token) = (Scene::new().await, token());
    scene.says(&token).await.unwrap();
    let spellings = ["=", " ", "\t", "%", ",", "\u{e9}", "\0", "\n"];
    for spelling in spellings.iter().flat_map(|more| [format!("{token}{more}"), format!("{more}{token}")]) {
        assert!(matches!(scene.says(&spelling).await, Err(Denial::TokenMalformed(_))), "{spelling:?}");
    }
    scene.says(&token).await.unwrap();
}

#[tokio::test]
async fn while_keys_are_too_old_a_remembered_token_waits_for_one_deadline_and_not_for_two() {
    let scene = Scene::new().await;
    let day = 24 * 3600;
    let long = json!({ "iat": NOW.as_secs() + day, "exp": NOW.as_secs() + day + 600 });
    let token = keys().p256.sign(&with(claims(), long));
    scene.passes(Duration::from_secs(24 * 3600 - 5));
    scene.recalls(&token).await.unwrap();
    scene.passes(Duration::from_secs(10));
    scene.world.hangs.store(true, Ordering::SeqCst);
    let (began, now) = (Instant::now(), scene.now());
    let looks = || scene.world.looks.load(Ordering::SeqCst);
    let before = looks();
    let issuer = IssuerName::new("demo");
    let verdict =
        authenticate(&scene.remembers, &scene.live, &token, Brought::ByIssuer(&issuer, None), now).await;
    assert_eq!(verdict.unwrap_err(), Denial::KeysUnavailable);
    let deadline = scene.live.issuers.iter().next().unwrap().settings.timeout;
    assert!(began.elapsed() >= deadline);
    assert_eq!(looks() - before, 1, "whoever begins to wait looks at the clock, and nobody else");
}

/// What may happen between two requests.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Event {
    Passes(u16),
    Publishes(bool, bool),
    Reloads(bool, bool),
    Revokes(Name),
    Lifts(Name),
    Asks(Which),
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Name {
    Jti,
    Alice,
    Web,
    P256,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Which {
    Long,
    Short,
    Later,
    ByAnotherKey,
    Forged,
}

impl Name {
    fn revocation(self) -> Revocation {
        match self {
            Self::Jti => revocation(Kind::Jti, "one", Rule::Outright),
            Self::Alice => revocation(Kind::Sub, "alice", Rule::Block),
            Self::Web => revocation(Kind::Client, "web-app", Rule::Before(NOW)),
            Self::P256 => revocation(Kind::Kid, keys().p256.kid, Rule::Outright),
        }
    }
}

impl Which {
    fn token(self) -> String {
        let until = |from: i64, to: i64| json!({ "iat": NOW.as_secs() + from, "exp": NOW.as_secs() + to });
        match self {
            Self::Long => keys().p256.sign(&with(claims(), json!({ "jti": "one" }))),
            Self::Short => keys().p256.sign(&with(claims(), until(0, 60))),
            Self::Later => keys().p256.sign(&with(claims(), until(60, 600))),
            Self::ByAnotherKey => keys().ed.sign(&claims()),
            Self::Forged => format!("{}A", keys().p256.sign(&claims()).trim_end_matches(|c| c != '.')),
        }
    }
}

#[test]
fn memory_and_judgement_agree_whatever_happens_in_between() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bolero::check!().with_iterations(300).with_type::<Vec<Event>>().for_each(|events| {
        runtime.block_on(async {
            let mut scene = Scene::new().await;
            for event in events {
                match *event {
                    Event::Passes(seconds) => scene.passes(Duration::from_secs(u64::from(seconds % 200))),
                    Event::Publishes(p256, ed) => {
                        let kept = [(p256, &keys().p256), (ed, &keys().ed)];
                        let kept: Vec<_> =
                            kept.into_iter().filter_map(|(kept, key)| kept.then_some(key)).collect();
                        if !kept.is_empty() {
                            scene.publishes(&kept).await;
                        }
                    }
                    Event::Reloads(same, header) => scene.reload(
                        if same { AUDIENCE } else { "https://other.example" },
                        if header { SUBJECT } else { "x-auth-user" },
                    ),
                    Event::Revokes(name) => scene.change(Change::Add(name.revocation())).await,
                    Event::Lifts(name) => scene.change(Change::Lift(name.revocation())).await,
                    Event::Asks(which) => drop(scene.says(&which.token()).await),
                }
            }
            for which in [Which::Long, Which::Short, Which::Later, Which::ByAnotherKey, Which::Forged] {
                let _ = scene.says(&which.token()).await;
            }
        });
    });
}

#[tokio::test]
async fn all_that_a_known_token_takes_from_the_heap_is_its_path_and_query() {
    use crate::core::assertion::{AssertionRules, Assertions, Binding};
    use crate::core::request::{Host, RequestHead};
    use crate::core::signing::SigningKey;
    use crate::flows::admit::{admit, read_target};

    let mut scene = Scene::new().await;
    let scope = |value: &str| Requirements { scope: vec![value.to_owned()], ..Requirements::default() };
    let rules = AssertionRules {
        header: HeaderName::from_static("x-auth-assertion"),
        ttl: Duration::from_secs(60),
        binding: Binding::Upstream,
    };
    // A list of its own, beside one that it must not get.
    let headers = WhichList::nth(1);
    let identity = RouteIdentity { headers, assertion: Some(rules), ..RouteIdentity::default() };
    let route = Arc::new(Route {
        // The first does not hold, and a denial that nobody hears would take memory.
        access: Access::Protected(Alternatives::new(scope("admin"), vec![scope("api:read")])),
        forwarding: Forwarding { identity, ..Forwarding::default() },
        ..route::testing::route("/api/*")
    });
    let mut live = live(AUDIENCE, SUBJECT, Some(&scene.live));
    live.routes = RouteTable::build(&[route]).unwrap();
    let lists = &mut Arc::get_mut(&mut live.settings).unwrap().identity.headers;
    lists.insert(0, vec![(HeaderName::from_static("x-other"), "sub".to_owned())]);
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
    let assertions = Assertions::new("https://gate.example".to_owned(), vec![key]).unwrap();
    live.assertions = Some(Arc::new(assertions));
    scene.live = Arc::new(live);

    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {}", token()).parse().unwrap())]);
    let request = || {
        let head = RequestHead {
            method: &Method::GET,
            target: b"/api/things/1?a=b",
            host: Host::read("gate.example"),
            headers: &headers,
            upgrades: false,
            client_address: IpAddr::from([127, 0, 0, 1]),
        };
        let target = read_target(&scene.live, &head).unwrap();
        let admitted = admit(&scene.remembers, &scene.live, &head, target, NOW).now_or_never().unwrap();
        let permit = admitted.unwrap().permit;
        let [(name, _)] = permit.identity() else { panic!("{:?}", permit.identity()) };
        assert!(permit.assertion().is_some() && name == SUBJECT);
    };
    request();
    assert_eq!(allocation_counter::measure(request).count_total, 2);
}

mod reads;
