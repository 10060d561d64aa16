//! The file is given up, and taken back or not.

use super::*;

#[tokio::test]
async fn a_store_is_given_up_and_taken_back_and_calls_wait_meanwhile() {
    let folder = folder();
    let store = Arc::new(open(folder.path()));
    let shared = store.put_if(&key("shared"), None, durable("old")).await.unwrap().unwrap();
    store.put_if(&key("ours"), None, passing("lease")).await.unwrap().unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();

    let next = open(folder.path());
    assert_eq!(bytes_of(&next, &key("ours")).await.unwrap(), "lease", "a lease is handed over too");
    let get_key = key("shared");
    let mut get = store.get(&get_key).map(|found| found.unwrap().value.unwrap().1).boxed();
    let put_key = key("put");
    let mut put = store.put_if(&put_key, None, durable("waited"));
    let mut passing_put = store.put_if(&put_key, None, passing("waited too"));
    for _ in 0..3 {
        assert!((&mut get).now_or_never().is_none() && (&mut put).now_or_never().is_none());
        assert!((&mut passing_put).now_or_never().is_none());
    }
    let refused = store.open().await.unwrap_err();
    assert!(refused.contains("in use by another process"), "{refused}");
    next.put_if(&key("shared"), Some(shared), durable("new")).await.unwrap().unwrap();
    next.put_if(&key("theirs"), None, durable("x")).await.unwrap().unwrap();
    next.close().await.unwrap();

    store.open().await.unwrap();
    assert_eq!(get.await, "new", "what the other process wrote counts");
    assert_eq!(bytes_of(&*store, &key("theirs")).await.unwrap(), "x");
    let (put, passing_put) = (put.await.unwrap(), passing_put.await.unwrap());
    assert!(put.is_some() != passing_put.is_some(), "one of the two won: {put:?} {passing_put:?}");
    store.open().await.unwrap();
    assert!(bytes_of(&*store, &put_key).await.is_some(), "taking back what one has changes nothing");
}

#[tokio::test]
async fn what_cannot_be_written_at_the_end_is_told_and_still_there_when_the_file_is_taken_back() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let lasting = store.put_if(&key("lasting"), None, durable("x")).await.unwrap().unwrap();
    store.put_if(&key("lasting"), Some(lasting), passing("y")).await.unwrap().unwrap();
    store.put_if(&key("lease"), None, passing("z")).await.unwrap().unwrap();
    faults.full.store(true, Ordering::SeqCst);
    let told = store.close().await.unwrap_err();
    assert!(told.contains(FILE) && told.contains("full"), "{told}");
    assert!(store.open().await.is_err(), "it is still full");
    faults.full.store(false, Ordering::SeqCst);
    store.open().await.unwrap();
    assert_eq!(bytes_of(&store, &key("lasting")).await.unwrap(), "y");
    assert_eq!(bytes_of(&store, &key("lease")).await.unwrap(), "z");

    faults.full.store(true, Ordering::SeqCst);
    store.put_if(&key("new"), None, durable("x")).await.unwrap_err();
    let told = store.close().await.unwrap_err();
    assert!(told.contains("full"), "one that failed before is told too: {told}");
    faults.full.store(false, Ordering::SeqCst);
    store.open().await.unwrap();
    assert_eq!(bytes_of(&store, &key("lease")).await.unwrap(), "z");
    assert!(store.put_if(&key("after"), None, durable("x")).await.unwrap().is_some());
    store.close().await.unwrap();
    assert_eq!(bytes_of(&open(folder.path()), &key("lease")).await.unwrap(), "z");
}

#[tokio::test]
async fn a_store_that_begins_closed_waits_for_its_file_and_one_that_handed_over_for_nothing() {
    let folder = folder();
    let old = open(folder.path());
    old.put_if(&key("x"), None, durable("x")).await.unwrap().unwrap();
    let new = EmbeddedStore::closed(folder.path(), Arc::new(SystemClock)).unwrap();
    let x = key("x");
    let mut get = new.get(&x);
    assert!((&mut get).now_or_never().is_none());
    assert!(new.open().await.unwrap_err().contains("in use by another process"));
    old.close().await.unwrap();
    let mut left = old.get(&x);
    assert!((&mut left).now_or_never().is_none());
    new.open().await.unwrap();
    assert_eq!(get.await.unwrap().value.unwrap().1, "x");
    old.mark_handed_over(None);
    let fault = left.now_or_never().expect("an answer at once").unwrap_err();
    assert!(fault.to_string().contains("another process"), "{fault}");
    assert!(old.put_if(&x, None, passing("y")).now_or_never().expect("an answer at once").is_err());
    drop(old);
    assert!(new.put_if(&key("y"), None, durable("y")).await.unwrap().is_some(), "the file is the new one's");
}

#[tokio::test]
async fn calls_do_not_wait_for_ever_for_a_store_that_was_given_up() {
    let folder = folder();
    let store = impatient(folder.path());
    store.close().await.unwrap();
    assert_eq!(store.get(&key("x")).await.unwrap_err(), StoreFault::Deadline);
    assert_eq!(store.put_if(&key("x"), None, durable("x")).await.unwrap_err(), StoreFault::Deadline);
}

#[tokio::test]
async fn closing_while_many_write_loses_nothing_that_was_answered() {
    let folder = folder();
    let store = Arc::new(impatient(folder.path()));
    let write = |writer: usize| {
        let store = store.clone();
        async move {
            let mut answered = Vec::new();
            for n in 0.. {
                let keep = if n % 3 == 0 { Keep::WhileRunning } else { Keep::Durably };
                let key = key(format!("{writer}:{n}"));
                match store.put_if(&key, None, value("x", DAY, keep)).await {
                    Ok(put) => drop(put.unwrap()),
                    Err(fault) => {
                        assert_eq!(fault, StoreFault::Deadline, "it waits for the file");
                        break;
                    }
                }
                answered.push(key);
                tokio::task::yield_now().await;
            }
            answered
        }
    };
    let writers: Vec<_> = (0..20).map(|writer| tokio::spawn(write(writer))).collect();
    until("some writes", async || store.len() > 200).await;
    store.close().await.unwrap();
    let next = open(folder.path());
    for writer in writers {
        for key in writer.await.unwrap() {
            assert_eq!(bytes_of(&next, &key).await.unwrap(), "x", "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_file_whose_writes_were_lost_is_copied_also_when_it_was_full_before_or_is_taken_back() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let there = store.put_if(&key("there"), None, durable("x")).await.unwrap();
    let inode = || fs::metadata(folder.path().join(FILE)).unwrap().ino();
    let says = |text: &str| matches!(store.health(), StoreHealth::Away { why, .. } if why.contains(text));
    let before = inode();
    faults.full.store(true, Ordering::SeqCst);
    store.put_if(&key("large"), None, durable(vec![7; 100_000])).await.unwrap_err();
    faults.loses.store(true, Ordering::SeqCst);
    faults.full.store(false, Ordering::SeqCst);
    until("the disk to lose what is written", async || says("lost it")).await;
    faults.loses.store(false, Ordering::SeqCst);
    until("the store to write again", async || store.health() == StoreHealth::Up).await;
    let between = inode();
    assert_ne!(between, before);

    faults.loses.store(true, Ordering::SeqCst);
    store.put_if(&key("large"), None, durable(vec![7; 100_000])).await.unwrap_err();
    assert!(store.close().await.is_err());
    assert!(store.close().await.is_ok(), "nothing is left to close");
    faults.loses.store(false, Ordering::SeqCst);
    store.open().await.unwrap();
    assert_ne!(inode(), between);
    assert_eq!(held(&store, &key("there")).await.map(|(version, _)| version), there);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

#[tokio::test]
async fn a_store_that_is_taken_back_while_its_disk_is_full_still_says_so() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    store.put_if(&key("there"), None, durable("x")).await.unwrap().unwrap();
    let is_full = || matches!(store.health(), StoreHealth::Away { why, .. } if why.contains("full"));
    for fails_before in [true, false] {
        if !fails_before {
            // Only what it writes at the end finds no room.
            store.put_if(&key("lease"), None, passing("y")).await.unwrap().unwrap();
        }
        faults.full_behind.store(true, Ordering::SeqCst);
        if fails_before {
            store.put_if(&key("new"), None, durable("x")).await.unwrap_err();
        }
        store.close().await.unwrap_err();
        assert_eq!(store.open().await, Ok(()), "it can be read, and is this process's");
        assert!(is_full());
        let refused = store.put_if(&key("new"), None, durable("x")).await.unwrap_err();
        assert!(matches!(refused, StoreFault::Unavailable(_)), "{refused:?}");
        assert_eq!(bytes_of(&store, &key("there")).await.unwrap(), "x");
        faults.full_behind.store(false, Ordering::SeqCst);
        until("the store to write again", async || store.health() == StoreHealth::Up).await;
        store.put_if(&key(fails_before), None, durable("x")).await.unwrap().unwrap();
    }
    assert_eq!(bytes_of(&store, &key("lease")).await.unwrap(), "y");
}
