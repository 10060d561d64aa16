//! The store of the process that took over, as the one that leaves has it.

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::embedded::{folder, open};
use super::*;
use crate::core::revocation::Change;
use crate::flows::ports::{Exclusive as _, HandedTo, StoreFault, StoreHealth};
use crate::flows::testing::MemoryLog;
use crate::io::handover::Channel;
use crate::io::handover::answering::answer;
use crate::io::handover::asking::ask;
use crate::io::store::embedded::EmbeddedStore;

/// `store` as another process reaches it, until what tells of changes is dropped.
fn reached(store: Arc<dyn Store>) -> (HandedTo, mpsc::Sender<Change>) {
    let (ours, theirs) = Channel::pair().unwrap();
    let own = HandedTo { store, revocations: Arc::new(MemoryLog::default()) };
    let (tell, changes) = mpsc::channel(1);
    tokio::spawn(answer(theirs, changes, own));
    let (asking, conversation) = ask(ours, Arc::new(SystemClock));
    tokio::spawn(conversation.run(None));
    (asking.handed_to(), tell)
}

/// Two that handed over one after the other, and the one that has the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_was_handed_over_twice_keeps_every_promise_of_a_store() {
    let folder = folder();
    let first = Arc::new(open(folder.path()));
    first.close().await.unwrap();
    let second = Arc::new(open(folder.path()));
    second.close().await.unwrap();
    let third = Arc::new(open(folder.path()));
    let (to_third, _third_lives) = reached(third.clone());
    second.mark_handed_over(Some(&to_third));
    let (to_second, _second_lives) = reached(second);
    first.mark_handed_over(Some(&to_second));
    suite::holds_for(first.clone()).await;
    let mark = key("whose");
    first.put_if(&mark, None, durable("the third's")).await.unwrap().unwrap();
    assert_eq!(bytes_of(&*third, &mark).await.unwrap(), "the third's");
}

#[tokio::test]
async fn whoever_waited_for_the_file_goes_on_at_the_process_that_has_it() {
    let folder = folder();
    let old = open(folder.path());
    let there = old.put_if(&key("x"), None, durable("old")).await.unwrap().unwrap();
    let new = Arc::new(EmbeddedStore::closed(folder.path(), Arc::new(SystemClock)).unwrap());
    old.close().await.unwrap();
    let (x, y) = (key("x"), key("y"));
    let (mut get, mut put, mut lease) =
        (old.get(&x), old.put_if(&x, Some(there), durable("new")), old.put_if(&y, None, passing("lease")));
    for _ in 0..3 {
        assert!((&mut get).now_or_never().is_none() && (&mut put).now_or_never().is_none());
        assert!((&mut lease).now_or_never().is_none());
    }
    new.open().await.unwrap();
    let (to_new, lives) = reached(new.clone());
    old.mark_handed_over(Some(&to_new));
    assert_eq!(get.await.unwrap().value, Some((there, "old".into())));
    assert!(put.await.unwrap().is_some() && lease.await.unwrap().is_some());
    assert_eq!(bytes_of(&*new, &x).await.unwrap(), "new");
    assert_eq!(bytes_of(&*new, &y).await.unwrap(), "lease");
    assert_eq!(old.health(), StoreHealth::Up);

    // The new process is gone.
    drop(lives);
    until("the news of it", async || old.get(&x).await.is_err()).await;
    let fault = old.put_if(&x, None, durable("z")).await.unwrap_err();
    assert!(matches!(&fault, StoreFault::Unavailable(why) if why.contains("is gone")), "{fault}");
    assert!(matches!(old.health(), StoreHealth::Away { alone: false, .. }));
}
