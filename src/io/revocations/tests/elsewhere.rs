//! The list of the process that took over, as the one that leaves has it, whose tables nobody else feeds.

use std::path::Path;

use futures_util::FutureExt as _;

use super::embedded::{folder, open};
use super::*;
use crate::flows::ports::{Exclusive as _, HandedTo};
use crate::flows::testing::FakeStore;
use crate::io::handover::Channel;
use crate::io::handover::answering::answer;
use crate::io::handover::asking::ask;
use crate::io::revocations::embedded::EmbeddedLog;

type Process = (Arc<EmbeddedLog>, Arc<Revocations>);

/// `old` has handed over to `new`.
fn hands_over((old, tables): &Process, (new, theirs): &Process) {
    let (here, there) = Channel::pair().unwrap();
    let store = Arc::new(FakeStore::new(Arc::new(SystemClock)));
    tokio::spawn(answer(there, theirs.listen(), HandedTo { store, revocations: new.clone() }));
    let (asking, conversation) = ask(here, Arc::new(SystemClock));
    tokio::spawn(conversation.run(Some(tables.clone())));
    old.mark_handed_over(Some(&asking.handed_to()));
}

/// Processes one after the other, each with its tables; the last has the file.
async fn processes<const N: usize>(folder: &Path) -> [Process; N] {
    let mut processes: Vec<Process> = Vec::new();
    for _ in 0..N {
        if let Some((before, _)) = processes.last() {
            before.close().await.unwrap();
        }
        let log = open(folder);
        let tables = followed(&log).await;
        processes.push((log, tables));
    }
    processes.try_into().unwrap()
}

/// What the suite asks of its tables as soon as a change is answered: it is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_was_handed_over_twice_keeps_every_promise_of_a_list() {
    let folder = folder();
    let [first, second, third] = processes(folder.path()).await;
    hands_over(&second, &third);
    hands_over(&first, &second);
    suite::holds_for(&*first.0, &first.1).await;
    for (_, tables) in [&first, &second, &third] {
        suite::is_what_it_left(tables);
    }
    // What the third takes back itself the first hears of too.
    add(&*third.0, [jti("later")]).await;
    until("the news of it", async || refuses(&first.1, &jti("later"))).await;
}

#[tokio::test]
async fn whoever_waited_for_the_list_goes_on_at_the_process_that_has_it() {
    let folder = folder();
    let [old, new] = processes(folder.path()).await;
    let changes = [Change::Add(jti("a"))];
    let part = ListQuery { limit: 10, ..ListQuery::default() };
    let (mut append, mut find, mut list) =
        (old.0.append(&changes), old.0.find(jti("a").id()), old.0.list(&part));
    assert!((&mut append).now_or_never().is_none() && (&mut find).now_or_never().is_none());
    assert!((&mut list).now_or_never().is_none());
    hands_over(&old, &new);
    append.await.unwrap();
    assert!(refuses(&old.1, &jti("a")) && refuses(&new.1, &jti("a")), "when it is answered");
    find.await.unwrap();
    list.await.unwrap();
}

/// Doubt closes the gate, however many processes it passes.
#[tokio::test]
async fn when_the_process_that_has_the_list_is_gone_the_tables_of_all_before_it_close() {
    let folder = folder();
    let [first, second, third] = processes(folder.path()).await;
    hands_over(&second, &third);
    hands_over(&first, &second);
    add(&*first.0, [jti("a")]).await;
    third.1.nobody_follows();
    for (log, tables) in [&second, &first] {
        until("the tables to close", async || !is_current(tables)).await;
        assert!(log.append(&[Change::Add(jti("b"))]).await.unwrap_err().to_string().contains("is gone"));
    }
}
