//! What is cut short while access is taken back, and what becomes of it: later by itself, and when somebody
//! asks again.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::core::revocation::RevocationId;
use crate::flows::ports::{EntryAsSeen, ListQuery, Listed, RevocationLog};

/// Store and list of one replica, of which some calls fail.
#[derive(Debug)]
pub(in crate::flows::tests) struct Cut {
    store: Arc<FakeStore>,
    log: Arc<MemoryLog>,
    /// How many families are put before one is not; negative: it is over, or never to come.
    puts: AtomicI64,
    /// The same of changes of the list.
    appends: AtomicI64,
    /// What is appended is durable, and its writer hears of this fault.
    loses: Mutex<Option<StoreFault>>,
    /// The next change is made after so long, or never (`None` within), and its writer hears of the deadline
    /// at once.
    late: Mutex<Option<Option<Duration>>>,
    /// Nobody can ask the list.
    is_silent: AtomicBool,
    /// How many changes each call made.
    made: Mutex<Vec<usize>>,
}

impl Store for Cut {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        self.store.get(key)
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Kept,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            if key.as_str().starts_with("family:") && self.puts.fetch_sub(1, Ordering::SeqCst) == 0 {
                return Err(StoreFault::Unavailable("it is away in this test".to_owned()));
            }
            self.store.put_if(key, expected, value).await
        }
        .boxed()
    }
}

impl RevocationLog for Cut {
    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        async move {
            if self.appends.fetch_sub(1, Ordering::SeqCst) == 0 {
                return Err(StoreFault::Unavailable("it is away in this test".to_owned()));
            }
            if let Some(late) = self.late.lock().unwrap().take() {
                let (log, changes) = (self.log.clone(), changes.to_vec());
                if let Some(late) = late {
                    tokio::spawn(async move {
                        tokio::time::sleep(late).await;
                        log.append(&changes).await
                    });
                }
                return Err(StoreFault::Deadline);
            }
            let made = self.log.append_if(found, changes).await?;
            self.made.lock().unwrap().push(changes.len());
            self.loses.lock().unwrap().take().map_or(Ok(made), Err)
        }
        .boxed()
    }

    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        if self.is_silent.load(Ordering::SeqCst) {
            return async { Err(StoreFault::Unavailable("it is away in this test".to_owned())) }.boxed();
        }
        self.log.find(id)
    }

    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        self.log.list(part)
    }

    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        self.log.follow(tables)
    }
}

impl Scene {
    /// Calls of this replica may fail from here on.
    pub(in crate::flows::tests) fn cut(&mut self) -> Arc<Cut> {
        let cut = Arc::new(Cut {
            store: self.store.clone(),
            log: self.log.clone(),
            puts: AtomicI64::new(-1),
            appends: AtomicI64::new(-1),
            loses: Mutex::default(),
            late: Mutex::default(),
            is_silent: AtomicBool::new(false),
            made: Mutex::default(),
        });
        let gate = Arc::get_mut(&mut self.gate).unwrap();
        (gate.store, gate.revocation_log) = (cut.clone(), cut.clone());
        cut
    }
}

impl Cut {
    /// The next change of the list is durable, and whoever makes it hears of this.
    pub(in crate::flows::tests) fn loses_an_answer(&self, fault: StoreFault) {
        *self.loses.lock().unwrap() = Some(fault);
    }

    /// One change of the list fails, after so many.
    pub(super) fn fails_after(&self, changes: i64) {
        self.appends.store(changes, Ordering::SeqCst);
    }

    /// How many changes each call made.
    pub(super) fn made(&self) -> Vec<usize> {
        self.made.lock().unwrap().clone()
    }
}

/// Who asks hears of a deadline, and is a replica of a list that hangs for ten seconds.
#[tokio::test(start_paused = true)]
async fn what_is_written_long_after_whoever_asked_was_refused_ends_its_sessions_all_the_same() {
    for kind in ["sid", "sub", "family", "sub that was taken back before"] {
        let mut scene = Scene::strict();
        let cut = scene.cut();
        let claims = json!({ "jti": "t", "sub": null, "client_id": null });
        let (cookie, token) = scene.signed_in_with(claims, Some(&id_token_of("alice"))).await;
        let family = scene.grant_of(&cookie).family.to_string();
        let value = match kind {
            "sid" => "sid-1",
            "family" => &family,
            _ => "alice",
        };
        let (kind, before) = kind.split_once(' ').map_or((kind, None), |(kind, _)| (kind, Some(())));
        let wanted = json!({ "kind": kind, "value": value });
        if before.is_some() {
            let long_ago = scene.clock.now().minus(Duration::from_secs(3600)).to_rfc3339();
            scene.revoke(json!({ "kind": kind, "value": value, "before": long_ago })).await.unwrap();
        }
        *cut.late.lock().unwrap() = Some(Some(Duration::from_secs(10)));
        let refused = scene.revoke(wanted).await;
        assert!(matches!(refused, Err(RevokeError::Store(StoreFault::Deadline))), "{kind}");
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(scene.takes(&token).await, Ok(()), "{kind}: nothing names it yet");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{kind}, before: {before:?}");
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(1)).await, 0, "{kind}: it was found");
    }
}

/// A Redis that was away for long, and gets back from another replica what a failover lost.
#[tokio::test(start_paused = true)]
async fn what_comes_after_a_long_outage_ends_its_sessions_too() {
    let mut scene = Scene::strict();
    let cut = scene.cut();
    let claims = json!({ "jti": "t", "sub": null, "client_id": null });
    let (_, token) = scene.signed_in_with(claims, Some(&id_token_of("alice"))).await;
    *cut.late.lock().unwrap() = Some(Some(Duration::from_secs(660)));
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap_err();
    cut.is_silent.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(600)).await;
    cut.is_silent.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(scene.takes(&token).await, Ok(()), "nothing names it yet");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_written_is_looked_for_for_two_minutes() {
    let mut scene = Scene::strict();
    let cut = scene.cut();
    *cut.late.lock().unwrap() = Some(None);
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap_err();
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(110)).await, 1);
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(30)).await, 0);
}

/// Two sessions of alice, whose access tokens do not say so.
async fn two_sessions(scene: &Scene) -> [(String, String); 2] {
    let claims = |jti: &str| json!({ "jti": jti, "sub": null, "client_id": null });
    let id_token = id_token_of("alice");
    let here = scene.signed_in_with(claims("t"), Some(&id_token)).await;
    [here, scene.signed_in_with(claims("u"), Some(&id_token)).await]
}

/// Where a sign-out everywhere is cut short.
const CUTS: [&str; 5] = [
    "its own family",
    "the other family",
    "its own tokens",
    "its watermark comes late",
    "the answer to its watermark",
];

fn cuts_short(cut: &Cut, at: &str) {
    match at {
        "its own family" => cut.puts.store(0, Ordering::SeqCst),
        "the other family" => cut.puts.store(1, Ordering::SeqCst),
        "its own tokens" => cut.appends.store(1, Ordering::SeqCst),
        "its watermark comes late" => cut.loses_an_answer(StoreFault::NotHereYet),
        _ => cut.loses_an_answer(StoreFault::Unfinished("the connection broke".to_owned())),
    }
}

#[tokio::test]
async fn who_asks_again_to_be_signed_out_everywhere_is_where_the_first_time_was_cut_short() {
    for at in CUTS {
        for elsewhere in [false, true] {
            let mut scene = Scene::strict();
            let cut = scene.cut();
            let [(here, _), (there, other)] = two_sessions(&scene).await;
            cuts_short(&cut, at);
            let refusal = scene.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::StoreUnavailable, "{at}");
            assert!(refusal.set_cookie.is_none(), "{at}");
            let watermark = scene.log.all();
            assert_eq!(scene.takes(&other).await, Ok(()), "{at}: nothing names it yet");
            scene.pass(61);
            let (again, token) =
                scene.signed_in_with(json!({ "jti": "w" }), Some(&id_token_of("alice"))).await;
            // The process that was asked may have died.
            let asked = if elsewhere { &scene.replica() } else { &scene };
            let answer = asked.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap();
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{at}");
            assert_eq!(scene.takes(&other).await, Err(Denial::Revoked), "{at}");
            let refusal = scene.refresh(&there).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{at}");
            // The moment stays: whoever signed in since then is in.
            assert!(watermark.iter().all(|entry| scene.log.all().contains(entry)), "{at}");
            assert_eq!(scene.takes(&token).await, Ok(()), "{at}");
            scene.next(access_token(&scene, json!({ "jti": "x" })));
            scene.refresh(&again).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_again_is_signed_out_everywhere_a_moment_later() {
    for at in CUTS {
        let mut scene = Scene::strict();
        let cut = scene.cut();
        let [(here, token), (there, other)] = two_sessions(&scene).await;
        cuts_short(&cut, at);
        scene.delete(&headers(Some(&here)), EVERYWHERE).await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(10)).await;
        for token in [&token, &other] {
            assert_eq!(scene.takes(token).await, Err(Denial::Revoked), "{at}");
        }
        assert!(scene.refresh(&there).await.is_err(), "{at}");
    }
}

#[tokio::test]
async fn who_is_blocked_signs_out_everywhere_by_a_session_that_goes_on_and_by_no_other() {
    let blocked = async |ends: bool| {
        let scene = Scene::strict();
        let [(here, _), (there, other)] = two_sessions(&scene).await;
        let target = Target { kind: Kind::Sub, whose: Whose::Of(AS.to_owned()), value: "alice".to_owned() };
        let block = Revocation::new(target, Rule::Block, scene.clock.now());
        if ends {
            scene.revoke(json!({ "kind": "sub", "value": "alice", "block": true })).await.unwrap();
        } else {
            // By whoever could not end her sessions.
            scene.log.append(&[Change::Add(block.clone())]).await.unwrap();
        }
        let answered = scene.delete(&headers(Some(&here)), EVERYWHERE).await;
        lift(&scene.gate, block.id()).await.unwrap();
        let watermarks = scene.log.all().into_iter().filter(|entry| matches!(entry.rule, Rule::Before(_)));
        let is_out =
            scene.takes(&other).await == Err(Denial::Revoked) && scene.refresh(&there).await.is_err();
        assert!(is_out, "after she was let in again: {ends}");
        (answered.map(|answer| answer.status).map_err(|refusal| refusal.denial), watermarks.count())
    };
    assert_eq!(blocked(false).await, (Ok(StatusCode::NO_CONTENT), 1));
    // The block has ended them all.
    assert_eq!(blocked(true).await, (Err(Denial::SessionEnded(SessionEnd::Revoked)), 0));
}

#[tokio::test]
async fn a_session_that_was_taken_back_for_another_reason_is_not_said_to_be_signed_out_everywhere() {
    let now = Scene::new().clock.now();
    for wanted in [
        json!({ "kind": "issuer", "value": "demo" }),
        json!({ "kind": "client", "value": "web-app" }),
        json!({ "kind": "sub", "value": "alice", "before": now.to_rfc3339() }),
    ] {
        let scene = Scene::strict();
        let (copy, _) = scene.signed_in("alice", "1", "t").await;
        scene.pass(120);
        let later = scene.signed_in("alice", "2", "u").await;
        let made = scene.revoke(wanted.clone()).await.unwrap();
        for _ in 0..2 {
            let refusal = scene.delete(&headers(Some(&copy)), EVERYWHERE).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{wanted}");
            assert!(clears(refusal.set_cookie.as_ref()), "{wanted}");
        }
        let entries = scene.log.all();
        let other =
            |entry: &&Revocation| matches!(entry.target.kind, Kind::Sub) && entry.id() != made[0].id();
        assert_eq!(entries.iter().find(other), None, "{wanted}");
        if wanted["kind"] == "sub" {
            assert!(!scene.is_out(&later).await, "{wanted}: it began later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_and_came_late_ends_its_sessions_all_the_same() {
    let broke = StoreFault::Unfinished("the connection broke".to_owned());
    let faults = [StoreFault::NotHereYet, StoreFault::Deadline, broke];
    let cases =
        ["sid", "sub", "family"].into_iter().flat_map(|kind| faults.iter().map(move |fault| (kind, fault)));
    for (kind, fault) in cases {
        let mut scene = Scene::strict();
        let cut = scene.cut();
        let claims = json!({ "jti": "t", "sub": null, "client_id": null });
        let (cookie, token) = scene.signed_in_with(claims, Some(&id_token_of("alice"))).await;
        let grant = session_cookie::read(&scene.live, &client(), &headers(Some(&cookie))).unwrap().unwrap();
        let value = match kind {
            "sid" => "sid-1".to_owned(),
            "sub" => "alice".to_owned(),
            _ => grant.family.to_string(),
        };
        cut.loses_an_answer(fault.clone());
        let refused = scene.revoke(json!({ "kind": kind, "value": value })).await;
        assert!(matches!(refused, Err(RevokeError::Store(told)) if told == *fault), "{kind}");
        assert_eq!(scene.takes(&token).await, Ok(()), "{kind}: nothing names it yet");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{kind}");
    }
}

/// Whoever asks again and again makes nobody look at all that there ever was.
#[tokio::test]
async fn sessions_that_were_ended_are_not_looked_at_again() {
    let scene = Scene::strict();
    for _ in 0..20 {
        two_sessions(&scene).await;
    }
    let index = || scene.store.bytes_of("families:");
    let all = index();
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
    scene.revoke(json!({ "kind": "sid", "value": "sid-1" })).await.unwrap();
    assert!(index() < all / 2, "that of the client alone is left: {} of {all}", index());
}
