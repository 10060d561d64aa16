//! What is asked and answered once the new process serves, and what becomes of it when one of the two fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all, pending, ready};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::core::revocation::{Change, Kind, Revocation, RevocationId, Rule, Target, Whose};
use crate::core::time::Timestamp;
use crate::flows::ports::{
    Clock as _, EntryAsSeen, HandedTo, Keep, ListQuery, Listed, RevocationLog, Store as _, StoreFault,
    StoreHealth, StoreKey, Value,
};
use crate::flows::testing::{FakeStore, MemoryLog};
use crate::io::handover::answering::answer;
use crate::io::handover::asking::{Asking, ask, ask_within};
use crate::io::handover::{
    AT_ONCE, Answer, Answers, Changed, Channel, Hears, LINE, Message, Question, Says, line,
};
use crate::io::store::tests::{DAY, LONG, until};
use crate::io::system::SystemClock;
use crate::state::revocations::{Currency, Revocations};

fn key(id: impl std::fmt::Display) -> StoreKey {
    StoreKey::new("test", id)
}

fn value(bytes: impl Into<Bytes>) -> Value {
    Value { bytes: bytes.into(), lifetime: DAY, keep: Keep::Durably }
}

fn jti(value: impl Into<String>) -> Revocation {
    let target = Target { kind: Kind::Jti, whose: Whose::All, value: value.into() };
    Revocation::new(target, Rule::Outright, Timestamp::from_secs(1))
}

fn tables() -> Arc<Revocations> {
    let tables = Arc::new(Revocations::new([7; 16]));
    tables.mark_complete();
    tables
}

fn is_current(tables: &Revocations) -> bool {
    matches!(tables.currency(SystemClock.now()), Currency::Current { .. })
}

/// One that asks, and the other end, at which the test is.
fn asking(tables: &Arc<Revocations>) -> (Asking, Hears, Says) {
    let (here, there) = Channel::pair().unwrap();
    let (asking, conversation) = ask(here, Arc::new(SystemClock));
    tokio::spawn(conversation.run(Some(tables.clone())));
    let (hears, says) = there.apart();
    (asking, hears, says)
}

/// One that answers from memory, and the other end, at which the test is. The sender tells of changes.
fn answering() -> (Hears, Says, mpsc::Sender<Change>) {
    let (here, there) = Channel::pair().unwrap();
    let own = HandedTo {
        store: Arc::new(FakeStore::new(Arc::new(SystemClock))),
        revocations: Arc::new(MemoryLog::default()),
    };
    let (tell, changes) = mpsc::channel(10);
    tokio::spawn(answer(there, changes, own));
    let (hears, says) = here.apart();
    (hears, says, tell)
}

/// The next question; its number.
async fn question(hears: &mut Hears) -> u64 {
    match hears.hear().await.unwrap() {
        Message::Ask { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

/// Before it was asked.
fn is_gone(fault: &StoreFault) -> bool {
    matches!(fault, StoreFault::Unavailable(why) if why.contains("is gone"))
}

/// Once it was asked: it may have done it.
fn is_gone_unanswered(fault: &StoreFault) -> bool {
    matches!(fault, StoreFault::Unfinished(why) if why.contains("is gone"))
}

#[tokio::test]
async fn what_is_asked_and_answered_looks_like_this() {
    let (asking, mut hears, mut says) = asking(&tables());
    let seen = [EntryAsSeen { id: jti("a").id(), entry: None }];
    let changes = [Change::Add(jti("a"))];
    let (id, put) = (jti("a").id().to_string(), Value { keep: Keep::WhileRunning, ..value("x") });
    let entry = json!({ "target": { "kind": "jti", "whose": "All", "value": "a" }, "rule": "Outright", "until": null, "made_at": 1000, "made_by": null, "reason": null });
    let part = ListQuery { kind: Some(Kind::Sid), limit: 5, ..ListQuery::default() };
    let questions = async {
        asking.get(&key("a")).await.unwrap();
        asking.put_if(&key("a"), None, put).await.unwrap();
        asking.append_if(&seen, &changes).await.unwrap();
        asking.find(seen[0].id).await.unwrap();
        asking.list(&part).await.unwrap();
        let late = asking.get(&key("b")).await.unwrap_err();
        (late, asking.get(&key("b")).await.unwrap_err())
    };
    let said = [
        (
            json!({ "get": { "key": "test:a" } }),
            json!({ "found": { "value": [18446744073709551615u64, "eA=="], "now": 5 } }),
        ),
        (
            json!({ "put_if": { "key": "test:a", "expected": null, "bytes": "eA==", "lifetime": { "secs": 86400, "nanos": 0 }, "durably": false } }),
            json!({ "put": { "version": 7 } }),
        ),
        (
            json!({ "append_if": { "found": [{ "id": id, "entry": null }], "changes": [{ "lifted": false, "revocation": entry }] } }),
            json!({ "appended": { "made": true } }),
        ),
        (json!({ "find": { "id": id } }), json!({ "entry": { "revocation": entry } })),
        (
            json!({ "list": { "kind": "sid", "value": null, "iss": null, "after": null, "limit": 5 } }),
            json!({ "listed": { "revocations": [entry], "next": id } }),
        ),
        (json!({ "get": { "key": "test:b" } }), json!({ "failed": { "fault": "deadline", "why": "" } })),
        (
            json!({ "get": { "key": "test:b" } }),
            json!({ "failed": { "fault": "of_a_later_version", "why": "so" } }),
        ),
    ];
    let other = async {
        for (id, (what, is)) in said.into_iter().enumerate() {
            let Message::Ask { id: came, what: asked } = hears.hear().await.unwrap() else { panic!("{id}") };
            assert_eq!((came, serde_json::to_value(&asked).unwrap()), (id as u64, what));
            let answer = json!({ "answer": { "id": id, "is": is, "of": "a later version" } });
            says.say(format!("{answer}\n").as_bytes()).await.unwrap();
        }
    };
    let ((late, newer), ()) = tokio::join!(questions, other);
    assert_eq!(late, StoreFault::Deadline, "as the other process says it");
    assert_eq!(newer, StoreFault::Unfinished("so".to_owned()), "nobody knows");
    // What it says itself.
    for (fault, said) in [
        (StoreFault::Unavailable("so".to_owned()), json!({ "fault": "unavailable", "why": "so" })),
        (StoreFault::Unfinished("so".to_owned()), json!({ "fault": "unfinished", "why": "so" })),
        (StoreFault::Deadline, json!({ "fault": "deadline", "why": "" })),
        (StoreFault::NotHereYet, json!({ "fault": "not_here_yet", "why": "" })),
    ] {
        let answer = serde_json::to_value(Answer::from(fault.clone())).unwrap();
        assert_eq!(answer, json!({ "failed": said }));
        let Answer::Failed { fault: read, why } = serde_json::from_value(answer).unwrap() else { panic!() };
        assert_eq!(read.told(why), fault);
    }
}

#[test]
fn only_a_process_that_says_that_it_answers_is_asked() {
    let answers = |said: &str| match serde_json::from_str(said).unwrap() {
        Message::Serving { answers } => answers.has_ours(),
        other => panic!("{other:?}"),
    };
    assert!(!answers(r#"{"serving":{}}"#), "of a version that does not know of it");
    assert!(!answers(r#"{"serving":{"answers":["store/2"]}}"#), "of one that answers other questions");
    assert!(answers(r#"{"serving":{"answers":["store/2","store/1"]}}"#));
    let ours = line(&Message::Serving { answers: Answers::ours() }).unwrap();
    assert_eq!(ours, b"{\"serving\":{\"answers\":[\"store/1\"]}}\n");
}

#[tokio::test]
async fn what_comes_at_once_behind_the_greeting_is_heard() {
    let (mut here, mut there) = Channel::pair().unwrap();
    let changed = Message::Changed(Changed::from(&Change::Add(jti("a"))));
    let both =
        [line(&Message::Serving { answers: Answers::ours() }).unwrap(), line(&changed).unwrap()].concat();
    // And the beginning of a third.
    there.stream.write_all(&[&both[..], b"{\"answer\""].concat()).await.unwrap();
    assert!(matches!(here.hear().await.unwrap(), Message::Serving { .. }));
    let (tables, (_asks, conversation)) = (tables(), ask(here, Arc::new(SystemClock)));
    tokio::spawn(conversation.run(Some(tables.clone())));
    until("the change", async || tables.count(Kind::Jti) == 1).await;
    assert!(is_current(&tables));
    drop(there);
    until("the tables to close", async || !is_current(&tables)).await;
}

#[tokio::test]
async fn a_process_that_dies_in_the_middle_is_noticed_by_all_who_wait_and_by_all_who_come() {
    let tables = tables();
    let (asking, mut hears, says) = asking(&tables);
    let keys: Vec<_> = (0..20).map(key).collect();
    let waiting = join_all(keys.iter().map(|key| asking.put_if(key, None, value("x"))));
    let other = async {
        for _ in 0..20 {
            question(&mut hears).await;
        }
        assert!(is_current(&tables));
        drop((hears, says));
    };
    let (answers, ()) = tokio::join!(waiting, other);
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(is_gone_unanswered)), "{answers:?}");
    until("the tables to close", async || !is_current(&tables)).await;
    let late = asking.get(&keys[0]).now_or_never().expect("an answer at once").unwrap_err();
    assert!(is_gone(&late), "{late}");
    assert!(matches!(asking.handed_to().store.health(), StoreHealth::Away { alone: false, .. }));
}

#[tokio::test]
async fn nonsense_ends_it_on_either_side() {
    let endless = vec![b'{'; LINE + 2];
    let asked = line(&Message::Go {}).unwrap();
    for said in [&b"nonsense\n"[..], b"\xff\n", &asked, &endless] {
        let tables = tables();
        let (asking, mut hears, mut says) = asking(&tables);
        let key = key("a");
        let other = async {
            question(&mut hears).await;
            // The other side may have left in the midst of it.
            let _ = says.say(said).await;
        };
        let (answer, ()) = tokio::join!(asking.get(&key), other);
        assert!(is_gone_unanswered(&answer.unwrap_err()));
        until("the tables to close", async || !is_current(&tables)).await;
        assert!(hears.hear().await.is_err(), "nothing more is said");
    }
    let bad_key = br#"{"ask":{"id":1,"what":{"get":{"key":"no key"}}}}"#;
    let bad_bytes = br#"{"ask":{"id":1,"what":{"put_if":{"key":"a","expected":null,"bytes":"?","lifetime":{"secs":1,"nanos":0},"durably":true}}}}"#;
    let bad_id = br#"{"ask":{"id":1,"what":{"find":{"id":"xy"}}}}"#;
    for said in
        [b"nonsense\n".to_vec(), asked, endless, bad_key.to_vec(), bad_bytes.to_vec(), bad_id.to_vec()]
    {
        let (mut hears, mut says, _tell) = answering();
        let _ = says.say(&said).await;
        let _ = says.say(b"\n").await;
        assert!(hears.hear().await.is_err(), "{:?}", Bytes::from(said));
    }
}

/// A list that tells of a change and answers in one breath.
#[derive(Debug)]
struct Telling(mpsc::Sender<Change>);

impl RevocationLog for Telling {
    fn append<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreFault>> {
        async move { self.append_if(&[], changes).await.map(drop) }.boxed()
    }

    fn append_if<'a>(
        &'a self,
        _found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        changes.iter().for_each(|change| self.0.try_send(change.clone()).unwrap());
        ready(Ok(true)).boxed()
    }

    fn find(&self, _id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        ready(Ok(None)).boxed()
    }

    fn list<'a>(&'a self, _part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        ready(Ok(Listed::default())).boxed()
    }

    fn follow(&self, _tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        pending().boxed()
    }
}

#[tokio::test]
async fn a_change_is_told_before_it_is_answered() {
    let (here, there) = Channel::pair().unwrap();
    let (tell, changes) = mpsc::channel(10);
    let store = Arc::new(FakeStore::new(Arc::new(SystemClock)));
    tokio::spawn(answer(there, changes, HandedTo { store, revocations: Arc::new(Telling(tell)) }));
    let (mut hears, mut says) = here.apart();
    for id in 0..50 {
        let made = [Change::Add(jti(id.to_string())), Change::Lift(jti(id.to_string()))];
        let what = Question::append_if(&[], &made);
        says.say(&line(&Message::Ask { id, what }).unwrap()).await.unwrap();
        for change in &made {
            assert_eq!(hears.hear().await.unwrap(), Message::Changed(Changed::from(change)));
        }
        let is = Answer::Appended { made: true };
        assert_eq!(hears.hear().await.unwrap(), Message::Answer { id, is });
    }
}

#[tokio::test]
async fn who_hears_of_changes_no_more_gets_no_answers_either() {
    let (mut hears, mut says, tell) = answering();
    let get = |id| json!({ "ask": { "id": id, "what": { "get": { "key": "test:a" } } } });
    says.say(format!("{}\n", get(1)).as_bytes()).await.unwrap();
    assert!(matches!(hears.hear().await.unwrap(), Message::Answer { id: 1, is: Answer::Found { .. } }));
    tell.send(Change::Add(jti("a"))).await.unwrap();
    drop(tell);
    let _ = says.say(format!("{}\n", get(2)).as_bytes()).await;
    assert!(matches!(hears.hear().await.unwrap(), Message::Changed(_)));
    assert!(hears.hear().await.is_err());
}

#[tokio::test]
async fn what_is_too_large_is_refused_alone_and_of_a_list_the_first_part_comes() {
    let (here, there) = Channel::pair().unwrap();
    let (store, log) = (Arc::new(FakeStore::new(Arc::new(SystemClock))), Arc::new(MemoryLog::default()));
    let own = HandedTo { store: store.clone(), revocations: log.clone() };
    let (_tell, changes) = mpsc::channel(1);
    tokio::spawn(answer(there, changes, own));
    let (asking, conversation) = ask_within(here, Arc::new(SystemClock), LONG);
    tokio::spawn(conversation.run(None));

    let large = vec![0; LINE * 3 / 4];
    let fault = asking.put_if(&key("large"), None, value(large.clone())).await.unwrap_err();
    assert!(matches!(&fault, StoreFault::Unavailable(why) if why.contains("too many")), "{fault}");
    // Somebody put it there without this.
    store.put_if(&key("large"), None, value(large)).await.unwrap().unwrap();
    let fault = asking.get(&key("large")).await.unwrap_err();
    assert!(matches!(&fault, StoreFault::Unfinished(why) if why.contains("too many")), "{fault}");
    let fits = vec![0; LINE / 2];
    assert!(asking.put_if(&key("fits"), None, value(fits.clone())).await.unwrap().is_some());
    assert_eq!(asking.get(&key("fits")).await.unwrap().value.unwrap().1, fits);

    let long = |n: usize| Revocation { reason: Some("x".repeat(LINE / 20)), ..jti(n.to_string()) };
    for n in 0..30 {
        log.append(&[Change::Add(long(n))]).await.unwrap();
    }
    let (mut part, mut came) = (ListQuery { limit: 100, ..ListQuery::default() }, Vec::new());
    loop {
        let listed = asking.list(&part).await.unwrap();
        came.extend(listed.revocations);
        let Some(next) = listed.next else { break };
        part.after = Some(next);
    }
    assert!(came == log.all(), "{} of 30", came.len());
}

#[tokio::test]
async fn no_more_is_asked_at_once_than_there_is_room_for_and_whoever_leaves_makes_room() {
    let (here, there) = Channel::pair().unwrap();
    let (asking, conversation) = ask_within(here, Arc::new(SystemClock), LONG);
    tokio::spawn(conversation.run(None));
    let (mut hears, mut says) = there.apart();
    let ask = |n: usize| {
        let asking = asking.clone();
        tokio::spawn(async move { asking.get(&key(n)).await })
    };
    let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
    let mut ids = Vec::new();
    for _ in 0..AT_ONCE {
        ids.push(question(&mut hears).await);
    }
    let late = ask(AT_ONCE);
    let soon = tokio::time::timeout(Duration::from_millis(100), hears.hear()).await;
    assert!(soon.is_err(), "it waits for its turn: {soon:?}");
    asked[0].abort();
    ids.push(question(&mut hears).await);
    for id in ids {
        let is = Answer::Found { value: None, now: Timestamp::from_secs(1) };
        says.say(&line(&Message::Answer { id, is }).unwrap()).await.unwrap();
    }
    assert!(late.await.unwrap().is_ok());
    for (n, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.is_ok_and(|answer| answer.is_ok()), n != 0, "{n}");
    }
}

#[tokio::test]
async fn a_process_that_does_not_answer_is_not_waited_for_for_ever() {
    let (here, _there) = Channel::pair().unwrap();
    let (asking, conversation) = ask_within(here, Arc::new(SystemClock), Duration::from_millis(100));
    let conversation = tokio::spawn(conversation.run(None));
    assert_eq!(asking.get(&key("a")).await.unwrap_err(), StoreFault::Deadline);
    // More than the way takes.
    let large = value(vec![0; LINE / 2]);
    assert_eq!(asking.put_if(&key("a"), None, large).await.unwrap_err(), StoreFault::Deadline);
    assert_eq!(asking.get(&key("b")).await.unwrap_err(), StoreFault::Deadline);
    conversation.abort();
    until("its end", async || is_gone(&asking.get(&key("a")).await.unwrap_err())).await;
}
