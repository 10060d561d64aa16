//! What becomes of the list on a bad disk, and of a bad file.

use super::*;

#[tokio::test]
async fn what_a_disk_that_hangs_may_still_write_is_not_said_to_be_nowhere() {
    let (folder, faults) = (folder(), Arc::new(Faults::default()));
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, patience: Duration::from_millis(200), ..Tuning::default() };
    let log = open_as(folder.path(), Arc::new(SystemClock), tuning);
    faults.hangs.store(true, Ordering::SeqCst);
    let late = jti("late");
    assert_eq!(log.append(&[Change::Add(late.clone())]).await, Err(StoreFault::Deadline));
    assert_eq!(log.find(late.id()).await, Err(StoreFault::Deadline));
    faults.hangs.store(false, Ordering::SeqCst);
    until("an answer", async || log.find(late.id()).await == Ok(Some(late.clone()))).await;
}

#[tokio::test]
async fn what_was_given_up_before_it_was_begun_is_not_made_when_the_disk_goes_on() {
    let (folder, faults) = (folder(), Arc::new(Faults::default()));
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, patience: Duration::from_millis(200), ..Tuning::default() };
    let log = open_as(folder.path(), Arc::new(SystemClock), tuning);
    let tables = followed(&log).await;
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(true, Ordering::SeqCst);
    let [first, left] = [[Change::Add(jti("first"))], [Change::Add(jti("left"))]];
    let mut begun = log.append(&first);
    assert!((&mut begun).now_or_never().is_none());
    until("the disk to be asked", async || faults.syncs.load(Ordering::SeqCst) > before).await;
    let named = [block("alice"), block("bob")];
    let found = [EntryAsSeen { id: named[1].id(), entry: None }];
    let [alice, bob] = named.clone().map(|named| [Change::Add(named)]);
    let late = join_all([log.append_if(&[], &alice), log.append_if(&found, &bob)]).await;
    drop(begun);
    assert!(late.iter().all(|late| *late == Err(StoreFault::Deadline)), "{late:?}");
    // Whoever leaves without an answer did not give up.
    assert!(log.append(&left).now_or_never().is_none());
    faults.hangs.store(false, Ordering::SeqCst);
    until("what came after it", async || refuses(&tables, &jti("left"))).await;
    for named in &named {
        let found = async || log.find(named.id()).await.ok();
        until("the list", async || found().await.is_some()).await;
        assert_eq!(found().await, Some(None), "its caller was told that it failed");
        assert!(!refuses(&tables, named));
    }
}

#[tokio::test]
async fn a_file_that_another_process_has_is_an_error_that_names_it() {
    let folder = folder();
    let first = open(folder.path());
    let error = EmbeddedLog::open(folder.path(), Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(error, StoreFileError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(folder.path().join(FILE).to_str().unwrap()), "{error}");
    add(&*first, [jti("a")]).await;
}

/// Each damage is either told, or has cost nothing.
#[tokio::test]
async fn a_damaged_list_is_told_and_never_thrown_away() {
    let folder = folder();
    let log = open(folder.path());
    add(&*log, (0..300).map(jti)).await;
    log.close().await.unwrap();
    let good = fs::read(folder.path().join(FILE)).unwrap();
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("other".to_owned(), b"something else".to_vec()),
        ("half".to_owned(), good[..good.len() / 2].to_vec()),
    ];
    damages.extend((0..good.len()).step_by(good.len() / 60).map(|at| {
        let mut damaged = good.clone();
        let end = (at + 64).min(good.len());
        damaged[at..end].fill(0x55);
        (format!("bytes from {at}"), damaged)
    }));
    let mut told = 0;
    for (what, damaged) in damages {
        let copy = tempfile::tempdir().unwrap();
        let file = copy.path().join(FILE);
        fs::write(&file, &damaged).unwrap();
        match EmbeddedLog::open(copy.path(), Arc::new(SystemClock)).map(Arc::new) {
            Ok(log) => {
                let tables = followed(&log).await;
                assert!((0..300).all(|n| refuses(&tables, &jti(n))), "{what}");
            }
            Err(error) => {
                told += 1;
                let text = error.to_string();
                assert!(
                    text.contains(file.to_str().unwrap()) && text.contains("move it away"),
                    "{what}: {text}"
                );
                let left = fs::read(&file).unwrap();
                assert!(left.len() >= damaged.len() && damaged.is_empty() == left.is_empty(), "{what}");
            }
        }
    }
    assert!(told > 10, "{told}");
}

#[tokio::test]
async fn a_disk_that_fails_refuses_what_must_last_and_tables_say_what_it_has_afterwards() {
    let folder = folder();
    let (log, faults) = faulty(folder.path(), TestClock::start());
    let tables = followed(&log).await;
    add(&*log, [jti("there"), block("bob")]).await;
    for (round, fault) in [&faults.full, &faults.loses].into_iter().enumerate() {
        let blocked = block("bob");
        fault.store(true, Ordering::SeqCst);
        let new = Revocation { reason: Some("x".repeat(100_000)), ..jti(round) };
        let changes = [Change::Add(new.clone()), Change::Lift(blocked.clone())];
        let refused = log.append(&changes).await.unwrap_err();
        let is_in_doubt = matches!(&refused, StoreFault::Unfinished(why) if why.contains(FILE));
        assert!(is_in_doubt, "{refused:?}");
        assert!(log.append(&[Change::Add(jti("other"))]).await.is_err(), "until it can be written");
        assert!(log.find(jti("there").id()).await.is_err());
        assert!(matches!(log.health(), StoreHealth::Away { alone: false, .. }));
        assert!(refuses(&tables, &jti("there")), "what is known stays known");
        fault.store(false, Ordering::SeqCst);
        until("the list to be written again", async || {
            log.append(&[Change::Add(jti("again"))]).await.is_ok()
        })
        .await;
        assert_eq!(log.health(), StoreHealth::Up);
        let there = log.find(new.id()).await.unwrap();
        assert_eq!(refuses(&tables, &new), there.is_some(), "the tables say what the disk says");
        assert_eq!(refuses(&tables, &blocked), log.find(blocked.id()).await.unwrap().is_some());
        let (crashed, _copy) = after_a_crash(folder.path());
        assert_eq!(crashed.find(new.id()).await.unwrap(), there);
        add(&*log, [new.clone(), blocked.clone()]).await;
        assert!(refuses(&tables, &new) && refuses(&tables, &blocked));
    }
}

#[tokio::test]
async fn a_list_that_is_taken_back_while_its_disk_is_full_still_says_so() {
    let folder = folder();
    let (log, faults) = faulty(folder.path(), TestClock::start());
    let tables = followed(&log).await;
    add(&*log, [jti("there")]).await;
    faults.full_behind.store(true, Ordering::SeqCst);
    let new = [Change::Add(jti("new"))];
    log.append(&new).await.unwrap_err();
    log.close().await.unwrap_err();
    assert_eq!(log.open().await, Ok(()), "it can be read, and is this process's");
    let health = log.health();
    assert!(matches!(&health, StoreHealth::Away { why, .. } if why.contains("full")), "{health:?}");
    let refused = log.append(&new).await;
    assert!(matches!(refused, Err(StoreFault::Unavailable(_))), "{refused:?}");
    assert!(refuses(&tables, &jti("there")) && !refuses(&tables, &jti("new")));
    faults.full_behind.store(false, Ordering::SeqCst);
    until("the list to be written again", async || log.health() == StoreHealth::Up).await;
    log.append(&new).await.unwrap();
    assert!(refuses(&tables, &jti("new")));
}

#[tokio::test]
async fn after_an_fsync_that_failed_the_list_is_a_copy_that_is_on_the_disk() {
    let folder = folder();
    let (log, faults) = faulty(folder.path(), TestClock::start());
    add(&*log, [jti("there")]).await;
    let file = || fs::metadata(folder.path().join(FILE)).unwrap();
    for (fault, is_copied) in [(&faults.full, false), (&faults.loses, true)] {
        let before = file().ino();
        fault.store(true, Ordering::SeqCst);
        let large = Revocation { reason: Some("x".repeat(100_000)), ..jti("large") };
        log.append(&[Change::Add(large)]).await.unwrap_err();
        fault.store(false, Ordering::SeqCst);
        until("the list to be written again", async || log.health() == StoreHealth::Up).await;
        assert_eq!(file().ino() != before, is_copied);
        assert_eq!(file().mode() & 0o777, 0o600);
        assert!(log.find(jti("there").id()).await.unwrap().is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}

#[tokio::test]
async fn damage_to_the_last_commit_is_told_after_an_unclean_end() {
    let folder = folder();
    let log = open(folder.path());
    let image = || fs::read(folder.path().join(FILE)).unwrap();
    add(&*log, (0..300).map(jti)).await;
    let before = image();
    add(&*log, [jti("last")]).await;
    let after = image();
    const PAGE: usize = 4096;
    let (mut told, pages) = (0, after.chunks(PAGE).zip(before.chunks(PAGE)).enumerate());
    // What that commit wrote, but for the page that says where everything is.
    for (page, _) in pages.filter(|(page, (now, then))| *page > 0 && now != then) {
        let mut damaged = after.clone();
        damaged[page * PAGE..][..64].iter_mut().for_each(|byte| *byte ^= 0xff);
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(FILE), &damaged).unwrap();
        let Ok(log) = EmbeddedLog::open(copy.path(), Arc::new(SystemClock)) else {
            told += 1;
            continue;
        };
        let found = log.find(jti("last").id()).await;
        assert!(!matches!(found, Ok(None)), "page {page}: it was answered");
    }
    assert!(told > 0);
}

#[tokio::test]
async fn a_disk_that_hangs_costs_a_few_threads_however_many_look() {
    let folder = folder();
    let log = open(folder.path());
    add(&*log, (0..3000).map(jti)).await;
    log.close().await.unwrap();
    let faults = Arc::new(Faults::default());
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, patience: Duration::from_millis(300), ..Tuning::default() };
    let log = open_as(folder.path(), Arc::new(SystemClock), tuning);
    faults.reads_hang.store(true, Ordering::SeqCst);
    let part = ListQuery::default();
    let listed = join_all((0..50).map(|_| log.list(&part))).await;
    let hanging = faults.hanging.load(Ordering::SeqCst);
    faults.reads_hang.store(false, Ordering::SeqCst);
    let late = listed.iter().filter(|listed| matches!(listed, Err(StoreFault::Deadline))).count();
    assert!((1..=4).contains(&hanging) && late == 50, "{hanging} {late}");
    until("the disk", async || log.list(&part).await.is_ok()).await;
}

#[tokio::test]
async fn a_writer_that_ends_by_a_panic_is_told_and_nobody_waits_for_it() {
    let folder = folder();
    let (log, faults) = faulty(folder.path(), TestClock::start());
    let tables = followed(&log).await;
    add(&*log, [jti("a")]).await;
    faults.panics.store(true, Ordering::SeqCst);
    let refused = log.append(&[Change::Add(jti("b"))]).await;
    assert!(matches!(refused, Err(StoreFault::Unfinished(_))), "the disk may have it: {refused:?}");
    until("the log to say so", async || {
        log.append(&[Change::Add(jti("c"))]).await.unwrap_err().to_string().contains("restart")
    })
    .await;
    assert!(refuses(&tables, &jti("a")) && !refuses(&tables, &jti("b")));
    assert!(log.close().await.is_err());
}
