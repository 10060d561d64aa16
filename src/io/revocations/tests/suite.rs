//! What every list promises (`flows::ports::RevocationLog`).

use futures_util::future::join_all;

use super::*;
use crate::core::revocation::holders::{Hand, Holder};
use crate::flows::ports::EntryAsSeen;

/// Runs the whole suite against an empty list, which `tables` follow. Values of different parts never meet.
pub(super) async fn holds_for(log: &dyn RevocationLog, tables: &Revocations) {
    let whole = async {
        a_change_counts_and_is_found_when_it_is_answered(log, tables).await;
        of_two_moments_the_later_counts(log, tables).await;
        what_is_lifted_is_gone_and_may_come_again(log, tables).await;
        changes_are_made_in_their_order(log, tables).await;
        a_block_is_changed_while_it_is_what_was_found(log, tables).await;
        a_watermark_is_lifted_while_it_is_what_was_found(log, tables).await;
        of_all_who_change_one_block_at_once_each_sees_what_the_others_made_of_it(log).await;
        changes_at_once_leave_tables_that_agree_with_the_list(log, tables).await;
        the_list_is_given_in_parts_in_the_order_of_ids(log).await;
    };
    tokio::time::timeout(2 * LONG, whole).await.expect("the suite in time");
}

/// Whoever follows later, what the suite left.
pub(super) fn is_what_it_left(late: &Revocations) {
    assert!(refuses(late, &jti("kept")) && !refuses(late, &jti("never")));
    assert!(refuses(late, &jti("comes")) && !refuses(late, &jti("goes")));
    assert!(refuses_aged(late, &before("alice", 0), 999, now()));
    // However long the suite took since it said 2000.
    assert!(
        refuses_aged(late, &block("bob"), 2900, now()) && !refuses_aged(late, &block("bob"), 1990, now())
    );
}

async fn a_change_counts_and_is_found_when_it_is_answered(log: &dyn RevocationLog, tables: &Revocations) {
    log.append(&[]).await.unwrap();
    for n in 0..20 {
        let revocation = jti(format!("a{n}"));
        assert!(!refuses(tables, &revocation));
        assert_eq!(log.find(revocation.id()).await.unwrap(), None);
        add(log, [revocation.clone()]).await;
        assert!(refuses(tables, &revocation));
        assert_eq!(log.find(revocation.id()).await.unwrap(), Some(revocation));
    }
    let stays = Revocation { until: None, ..jti("kept") };
    add(log, [stays.clone()]).await;
    assert_eq!(log.find(stays.id()).await.unwrap(), Some(stays));
}

/// Between two moments there is room for however long the suite takes.
async fn of_two_moments_the_later_counts(log: &dyn RevocationLog, tables: &Revocations) {
    let (late, early) = (before("alice", 1000), before("alice", 2000));
    let longer = Revocation { until: late.until.map(|until| until.plus(LONG)), ..early };
    add(log, [late.clone()]).await;
    add(log, [longer.clone()]).await;
    let there = log.find(late.id()).await.unwrap().unwrap();
    assert_eq!((there.rule, there.until), (late.rule, longer.until), "the later of both");
    assert!(refuses_aged(tables, &late, 1999, now()) && !refuses_aged(tables, &late, 900, now()));
    let for_ever = Revocation { until: None, ..before("alice", 3000) };
    add(log, [for_ever, before("alice", 500)]).await;
    let there = log.find(late.id()).await.unwrap().unwrap();
    assert_eq!(there.until, None, "none is the latest");
    assert!(refuses_aged(tables, &late, 999, now()));
    let (long, short) = (block("carol"), Revocation { until: Some(now().plus(LONG)), ..block("carol") });
    add(log, [long]).await;
    add(log, [short.clone()]).await;
    assert_eq!(log.find(short.id()).await.unwrap(), Some(short), "of a block the newer");
}

async fn what_is_lifted_is_gone_and_may_come_again(log: &dyn RevocationLog, tables: &Revocations) {
    let (blocked, moment) = (block("bob"), before("bob", 1000));
    add(log, [blocked.clone(), moment.clone()]).await;
    assert!(refuses(tables, &blocked));
    lift(log, &blocked).await;
    assert!(!refuses(tables, &blocked));
    assert!(refuses_aged(tables, &blocked, 1900, now()), "the other rule stays");
    assert_eq!(log.find(blocked.id()).await.unwrap(), None);
    lift(log, &blocked).await;
    lift(log, &moment).await;
    assert!(!refuses_aged(tables, &blocked, 1900, now()));
    add(log, [before("bob", 2000)]).await;
    assert!(refuses_aged(tables, &blocked, 2900, now()) && !refuses_aged(tables, &blocked, 1990, now()));
    let there = log.find(moment.id()).await.unwrap().unwrap();
    assert!(matches!((there.rule, moment.rule), (Rule::Before(now), Rule::Before(gone)) if now < gone));
}

async fn changes_are_made_in_their_order(log: &dyn RevocationLog, tables: &Revocations) {
    let (comes, goes) = (jti("comes"), jti("goes"));
    let (add, lift) = (Change::Add, Change::Lift);
    log.append(&[lift(comes.clone()), add(comes.clone()), add(goes.clone()), lift(goes.clone())])
        .await
        .unwrap();
    assert!(refuses(tables, &comes) && !refuses(tables, &goes));
    assert!(log.find(comes.id()).await.unwrap().is_some() && log.find(goes.id()).await.unwrap().is_none());
}

async fn a_block_is_changed_while_it_is_what_was_found(log: &dyn RevocationLog, tables: &Revocations) {
    let (bare, ends) = (block("dave"), Revocation { until: Some(now().plus(LONG)), ..block("dave") });
    let seen = |entry: Option<&Revocation>| [EntryAsSeen { id: bare.id(), entry: entry.cloned() }];
    let (add, beside) = (|block: &Revocation| Change::Add(block.clone()), jti("beside"));
    assert!(!log.append_if(&seen(Some(&bare)), &[add(&bare)]).await.unwrap(), "there is none");
    assert!(!refuses(tables, &bare) && log.find(bare.id()).await.unwrap().is_none());
    assert!(log.append_if(&seen(None), &[add(&bare), add(&beside)]).await.unwrap());
    assert!(refuses(tables, &bare) && refuses(tables, &beside), "when it is answered");
    for other in [None, Some(&ends)] {
        let both = [Change::Lift(bare.clone()), Change::Lift(beside.clone())];
        assert!(!log.append_if(&seen(other), &both).await.unwrap(), "{other:?}");
    }
    assert!(refuses(tables, &bare) && refuses(tables, &beside), "all or nothing");
    assert!(log.append_if(&seen(Some(&bare)), &[add(&ends)]).await.unwrap());
    let both = [seen(Some(&ends)), [EntryAsSeen { id: beside.id(), entry: None }]].concat();
    assert!(!log.append_if(&both, &[Change::Lift(ends.clone())]).await.unwrap(), "each of them");
    assert!(log.append_if(&seen(Some(&ends)), &[Change::Lift(ends.clone())]).await.unwrap());
    assert!(!refuses(tables, &bare));
}

async fn a_watermark_is_lifted_while_it_is_what_was_found(log: &dyn RevocationLog, tables: &Revocations) {
    let (early, late) = (before("frank", 200), before("frank", 100));
    let longer = Revocation { until: late.until.map(|until| until.plus(LONG)), ..early.clone() };
    add(log, [late.clone()]).await;
    add(log, [longer]).await;
    let both = log.find(late.id()).await.unwrap().unwrap();
    let seen = |entry: &Revocation| [EntryAsSeen { id: late.id(), entry: Some(entry.clone()) }];
    assert!(!log.append_if(&seen(&early), &[Change::Lift(early.clone())]).await.unwrap());
    assert!(refuses_aged(tables, &late, 199, now()), "somebody moved it");
    assert!(log.append_if(&seen(&both), &[Change::Lift(both.clone())]).await.unwrap());
    assert!(!refuses_aged(tables, &late, 1000, now()));
}

async fn of_all_who_change_one_block_at_once_each_sees_what_the_others_made_of_it(log: &dyn RevocationLog) {
    let joins = |n: usize| async move {
        let hand = Hand::Transmitter(format!("https://transmitter-{n}.example"));
        let holder = Holder { hand, until: None, made_at: now(), reason: None };
        let own = Revocation::block(block("erin").target, vec![holder]).unwrap();
        until("its turn", async || {
            let Ok(entry) = log.find(own.id()).await else { return false };
            let joined = own.clone().beside(entry.as_ref(), now());
            log.append_if(&[EntryAsSeen { id: own.id(), entry }], &[Change::Add(joined)]).await == Ok(true)
        })
        .await;
    };
    join_all((0..8).map(joins)).await;
    let held = log.find(block("erin").id()).await.unwrap().unwrap();
    assert_eq!(held.holders().len(), 8);
}

async fn changes_at_once_leave_tables_that_agree_with_the_list(
    log: &dyn RevocationLog,
    tables: &Revocations,
) {
    let changes = |n: usize| {
        let revocation = jti(format!("race{}", n % 10));
        if n.is_multiple_of(3) { Change::Lift(revocation) } else { Change::Add(revocation) }
    };
    let changes: Vec<_> = (0..300).map(changes).collect();
    let made = join_all(changes.iter().map(|change| log.append(std::slice::from_ref(change)))).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    for n in 0..10 {
        let revocation = jti(format!("race{n}"));
        let there = log.find(revocation.id()).await.unwrap().is_some();
        assert_eq!(refuses(tables, &revocation), there, "{n}");
    }
}

async fn the_list_is_given_in_parts_in_the_order_of_ids(log: &dyn RevocationLog) {
    let sid = |n: usize| revocation(Kind::Sid, format!("s{n}"), Rule::Outright);
    let of_all = |n: usize| Revocation { target: Target { whose: Whose::All, ..sid(n).target }, ..sid(n) };
    let mut added: Vec<_> = (0..700).map(sid).chain((0..50).map(of_all)).collect();
    add(log, added.clone()).await;
    added.sort_by_key(Revocation::id);
    let part = |limit| ListQuery { kind: Some(Kind::Sid), limit, ..ListQuery::default() };
    for limit in [7, 100, 10_000] {
        assert_eq!(all(log, part(limit)).await, added, "{limit}");
    }
    let listed = log.list(&part(10)).await.unwrap();
    assert!(listed.next.is_some());
    let named = ListQuery { value: Some("s7".to_owned()), ..part(10) };
    assert_eq!(all(log, named.clone()).await.len(), 2, "of its issuer and of all");
    assert_eq!(all(log, ListQuery { iss: Some(ISS.to_owned()), ..named.clone() }).await.len(), 2);
    let of_another = all(log, ListQuery { iss: Some("https://other".to_owned()), ..named }).await;
    assert_eq!(of_another.into_iter().map(|found| found.target).collect::<Vec<_>>(), [of_all(7).target]);
    let whole = all(log, ListQuery { limit: 1000, ..ListQuery::default() }).await;
    assert!(whole.is_sorted_by_key(Revocation::id) && whole.len() > added.len());
}
