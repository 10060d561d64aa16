//! What a process that has handed over still has to answer: with the store and the list of the new one, where
//! that can be asked.

use std::path::Path;

use tokio::task::JoinHandle;
use tollgate::flows::Gate;
use tollgate::flows::ports::{Keep, StoreKey, Value};
use tollgate::io::handover::questions::Changed;
use tollgate::state::open_requests::Ending;
use tollgate::state::revocations::Currency;

use super::*;

/// How long the requests of a process that does not wait for them may take.
const BRIEF: Duration = Duration::from_millis(200);

/// The next process of a row: `app` hands over to it and leaves.
async fn next(app: App, folder: &Path) -> (App, JoinHandle<()>) {
    next_as(app, folder, |_| {}).await
}

/// The same, with what no key of config.yaml can say.
async fn next_as(app: App, folder: &Path, adjust: impl FnOnce(&mut Settings)) -> (App, JoinHandle<()>) {
    let (mut to_new, to_old) = Channel::pair().unwrap();
    let own = Files::default().of("new");
    let new = new_as(to_old, folder, own, adjust);
    let (handed, taken) =
        within("the hand-over", async { tokio::join!(app.hand_over(&mut to_new), new) }).await;
    let (answers, taken) = (handed.unwrap(), taken.unwrap());
    (taken, tokio::spawn(async move { app.leave(to_new, &answers).await }))
}

/// A client whose request the upstream holds: the process that has it does not leave.
async fn busy(gateway: &Gateway, upstream: &Upstream) -> Client {
    let mut client = gateway.connect().await;
    client.send(request("GET", "/public/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 1).await;
    client
}

fn session(id: &str) -> StoreKey {
    StoreKey::new("test", id)
}

fn value(bytes: &'static str) -> Value {
    let (bytes, lifetime) = (bytes.into(), Duration::from_secs(3600));
    Value { bytes, lifetime, keep: Keep::Durably }
}

fn revocation(jti: &str, gate: &Gate) -> Revocation {
    let target = Target { kind: Kind::Jti, whose: Whose::Of(ISS.into()), value: jti.into() };
    Revocation::new(target, Rule::Outright, gate.clock.now())
}

/// Three processes in a row: the first finds its store at the third, through the second, which waits for it.
#[tokio::test]
async fn what_a_process_still_needs_of_the_store_it_has_however_often_that_was_handed_over() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let folder = gateway.folder().to_owned();
    let first = gateway.app.gate.clone();
    let mut busy = busy(&gateway, &upstream).await;
    first.store.put_if(&session("a"), None, value("of the first")).await.unwrap().unwrap();

    let (second, first_leaves) = next(gateway.app, &folder).await;
    let (third, second_leaves) = next(second, &folder).await;
    let (version, bytes) = first.store.get(&session("a")).await.unwrap().value.unwrap();
    assert_eq!(bytes, "of the first");
    let changed =
        first.store.put_if(&session("a"), Some(version), value("of the first again")).await.unwrap();
    let there = third.gate.store.get(&session("a")).await.unwrap().value.unwrap();
    assert_eq!((Some(there.0), &there.1[..]), (changed, &b"of the first again"[..]), "one store");
    let [theirs, ours] = [revocation("theirs", &first), revocation("ours", &first)];
    first.revocation_log.append(&[Change::Add(ours.clone())]).await.unwrap();
    assert_eq!(first.revocations.count(Kind::Jti), 1, "here when it is answered");
    assert_eq!(third.gate.revocations.count(Kind::Jti), 1);
    third.gate.revocation_log.append(&[Change::Add(theirs.clone())]).await.unwrap();
    eventually("the news at the first", || first.revocations.count(Kind::Jti) == 2).await;
    assert_eq!(first.revocation_log.find(theirs.id()).await.unwrap(), Some(theirs));

    assert!(!first_leaves.is_finished() && !second_leaves.is_finished(), "they wait for the request");
    upstream.release(1);
    assert_eq!(busy.answer().await.status, 200);
    within("the first process", first_leaves).await.unwrap();
    within("the second process", second_leaves).await.unwrap();
    let fault = first.store.get(&session("a")).await.unwrap_err();
    assert!(fault.to_string().contains("is gone"), "{fault}");
    within("the stop", third.stop(Duration::ZERO)).await;
}

/// Its exchanges are under way like those of the new one.
#[tokio::test]
async fn a_stop_waits_for_what_the_process_before_still_needs() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let folder = gateway.folder().to_owned();
    let first = gateway.app.gate.clone();
    let mut busy = busy(&gateway, &upstream).await;
    let (second, first_leaves) = next(gateway.app, &folder).await;
    let stops = tokio::spawn(second.stop(Duration::ZERO));
    // Long enough for a stop that waits for nobody.
    for n in 0..100 {
        first.store.put_if(&session(&n.to_string()), None, value("late")).await.unwrap().unwrap();
    }
    assert!(!stops.is_finished());
    upstream.release(1);
    assert_eq!(busy.answer().await.status, 200);
    within("the first process", first_leaves).await.unwrap();
    within("the stop", stops).await.unwrap();
}

/// Three processes in a row: the second waits for what the first still has.
#[tokio::test]
async fn who_waits_for_the_process_before_keeps_no_stream_and_takes_access_back() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let folder = gateway.folder().to_owned();
    let claims = json!({ "sub": "alice", "jti": "hers", "scope": "api:read" });
    let bearer = format!("Bearer {}", gateway.issuer.token_with(claims));
    let public = gateway.public;
    let mut busy = busy(&gateway, &upstream).await;
    let (second, first_leaves) =
        next_as(gateway.app, &folder, |settings| settings.patience.drain = BRIEF).await;
    let at_second = second.gate.clone();
    let mut client = Client::connect(public).await;
    client.send(request("GET", "/api/hold", &[("Authorization", &bearer)], b"")).await;
    eventually("both at the upstream", || upstream.received().len() == 2).await;
    let caller = at_second.open_requests.all()[0].token();

    let (third, second_leaves) = next(second, &folder).await;
    assert!(client.is_closed().await, "cut off at the end of the drain");
    assert!(!second_leaves.is_finished(), "it waits for the first");
    // As what nobody could cut off.
    let open = at_second.open_requests.enter(caller, None);
    third.gate.revocation_log.append(&[Change::Add(revocation("hers", &third.gate))]).await.unwrap();
    eventually("it to end", || open.ending() == Some(Ending::Revoked)).await;
    assert!(!second_leaves.is_finished(), "it waits for the first");

    upstream.release(2);
    assert_eq!(busy.answer().await.status, 200);
    within("the first process", first_leaves).await.unwrap();
    within("the second process", second_leaves).await.unwrap();
    within("the stop", third.stop(Duration::ZERO)).await;
}

/// Of a version that does not say that it answers.
#[tokio::test]
async fn a_new_process_that_cannot_be_asked_is_not_asked() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let gate = gateway.app.gate.clone();
    let mut busy = busy(&gateway, &upstream).await;
    let (mut to_new, mut to_old) = Channel::pair().unwrap();
    let other = async {
        to_old.take().await.unwrap();
        to_old.say(&Message::Ready { without_keys: vec![], without_store: None }).await.unwrap();
        to_old.hear().await.unwrap();
        to_old.say(&Message::Serving { answers: Answers::default() }).await.unwrap();
    };
    let (handed, ()) =
        within("the hand-over", async { tokio::join!(gateway.app.hand_over(&mut to_new), other) }).await;
    let answers = handed.unwrap();
    let leaving = tokio::spawn(async move { gateway.app.leave(to_new, &answers).await });
    let fault = within("an answer", gate.store.get(&session("a"))).await.unwrap_err();
    assert!(fault.to_string().contains("another process has taken over"), "{fault}");
    let entry = revocation("a", &gate);
    let fault = within("an answer", gate.revocation_log.append(&[Change::Add(entry.clone())])).await;
    assert!(fault.unwrap_err().to_string().contains("another process has taken over"));
    assert!(matches!(gate.revocations.currency(gate.clock.now()), Currency::Current { .. }));
    let lifted = Message::Changed(Changed { lifted: false, revocation: entry });
    to_old.say(&lifted).await.unwrap();
    eventually("what it says to be heard", || gate.revocations.count(Kind::Jti) == 1).await;
    drop(to_old);
    eventually("doubt to close the gate", || {
        matches!(gate.revocations.currency(gate.clock.now()), Currency::Stale { .. })
    })
    .await;
    upstream.release(1);
    assert_eq!(busy.answer().await.status, 200);
    within("the old process", leaving).await.unwrap();
}
