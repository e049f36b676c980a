//! §4 and §4.2: what a transaction sees, proposes and leaves behind.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::time::sleep;

use super::*;
use crate::store::{
    Committed, Event, NotWritten, TransactError,
    tests::memory::{Listener, Rig, create, run, settle, spawn},
};

type Outcome = Result<(), TransactError<Error>>;

#[test]
fn a_view_never_changes() {
    let before = with(vec![service("a", "web").into()]);
    let kept = before.clone();
    let after = write(&before, |tx| tx.remove(Kind::Service, &Id::from("a"))).unwrap();
    assert_eq!((before.services().count(), after.services().count()), (1, 0));
    assert_eq!(before, kept);
}

/// How many writes the entries have that a transaction makes, and its outcome once they commit.
fn proposed(
    decide: impl FnOnce(&mut Transaction) -> Result<(), Error> + Send + 'static,
) -> (Vec<usize>, Outcome) {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let outcome = spawn(rig.store.transact(decide));
        settle().await;
        let entries = rig.taken(2);
        let writes = entries.iter().map(|entry| {
            wire::InternalRaftRequest::decode(&*entry.data).expect("a request").action.len()
        });
        let writes = writes.collect();
        if !entries.is_empty() {
            rig.tell(1, vec![Event::Apply(entries)]).await;
        }
        (writes, outcome.await.expect("it does not panic"))
    })
}

#[test]
fn a_transaction_is_one_entry_or_none() {
    type Decide = fn(&mut Transaction) -> Result<(), Error>;
    let cases: [(&str, Decide, &[usize], Outcome); 4] = [
        (
            "all its changes are one entry",
            |tx| {
                tx.create(service("a", "a"))?;
                tx.create(service("b", "b"))
            },
            &[2],
            Ok(()),
        ),
        ("no change, no entry", |_| Ok(()), &[], Ok(())),
        (
            "an error takes everything back",
            |tx| {
                tx.create(service("a", "a"))?;
                Err(Error::NotExist)
            },
            &[],
            Err(TransactError::Aborted(Error::NotExist)),
        ),
        (
            "a refused write leaves the others, if its caller goes on",
            |tx| {
                tx.create(service("a", "a"))?;
                tx.create(service("a", "a")).unwrap_err();
                Ok(())
            },
            &[1],
            Ok(()),
        ),
    ];
    for (case, decide, writes, outcome) in cases {
        assert_eq!(proposed(decide), (writes.to_vec(), outcome), "{case}");
    }
}

#[test]
fn readers_see_a_write_before_its_caller_is_answered_and_not_before_it_is_committed() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let outcome = spawn(create(&rig.store, "a"));
        settle().await;
        assert_eq!(rig.store.view().services().count(), 0, "it is proposed, and no more");
        let entries = rig.taken(2);
        let store = rig.store.clone();
        let seen = spawn(async move {
            outcome.await.expect("no panic").expect("written");
            store.view().services().count()
        });
        rig.tell(1, vec![Event::Apply(entries)]).await;
        assert_eq!(seen.await.expect("no panic"), 1);
    });
}

#[test]
fn what_was_given_up_and_commits_after_all_is_applied_as_anybody_does() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let outcome = spawn(create(&rig.store, "a"));
        settle().await;
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Follow]).await;
        assert_eq!(outcome.await.expect("no panic"), Err(TransactError::OutcomeUnknown));
        rig.tell(1, vec![Event::Apply(entries)]).await;
        let view = rig.store.view();
        assert_eq!(view.service(&"a".into()).expect("it is there").meta.version, 1);
    });
}

#[test]
fn differs_a_follower_takes_no_transaction_not_even_an_empty_one() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        rig.tell(1, vec![Event::Follow]).await;
        let outcome = rig.store.transact(|_| Ok::<_, Error>(())).await;
        assert_eq!(outcome, Err(TransactError::NotWritten(NotWritten::NotLeading)));
    });
}

#[test]
fn differs_an_action_that_fails_does_not_take_its_entry_with_it() {
    let create = |object: Object| object.to_action(wire::StoreActionKind::StoreActionCreate);
    let (taken, fine) = (service("a", "web").into(), service("b", "db").into());
    let actions = vec![create(taken), create(fine)];
    let view = with(vec![service("a", "web").into()]);
    let (view, changes, skipped) = apply(&view, 5, actions, &mut Interner::default());
    assert_eq!((changes.len(), skipped.len(), view.services().count()), (1, 1, 2));
}

#[test]
fn differs_a_snapshot_replaces_the_store_and_everybody_reads_the_whole() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let heard = Rc::<RefCell<Vec<_>>>::default();
        let listener = {
            let heard = heard.clone();
            tree.child("listener", move |_| Listener { heard: heard.clone() })
        };
        rig.store.subscribe("listener", listener.recipient());
        let outcome = spawn(create(&rig.store, "old"));
        settle().await;
        rig.tell(1, vec![Event::Apply(rig.taken(2))]).await;
        outcome.await.expect("no panic").expect("written");
        let objects = Kind::ALL.iter().filter(|kind| **kind != Kind::Extension);
        let objects = objects.map(|kind| object(*kind, "new", "new")).collect::<Vec<_>>();
        let sent = [extension("volcano", "Volcano").into()].into_iter().chain(objects);
        let snapshot = with(sent.collect());
        let snapshot = Transaction::begin(&snapshot).seal(50, NOW).view;
        rig.tell(1, vec![Event::Restore { view: snapshot.clone() }]).await;
        assert_eq!(rig.store.view(), snapshot);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(*heard.borrow(), ["all at 0", "all at 50"]);
    });
}

#[test]
fn differs_what_is_too_much_for_a_transaction_is_split_by_whoever_writes_it() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        // An error in one of them is an error of that one; those before it stay.
        let first = spawn(create(&rig.store, "a"));
        let second = spawn(rig.store.transact(|head| {
            head.create(service("b", "b"))?;
            head.create(service("a", "a"))
        }));
        let third = spawn(create(&rig.store, "c"));
        settle().await;
        let entries: Vec<Committed> = rig.taken(2);
        assert_eq!(entries.len(), 2);
        rig.tell(1, vec![Event::Apply(entries)]).await;
        let outcomes = [first.await, second.await, third.await].map(|outcome| outcome.unwrap());
        assert_eq!(outcomes, [Ok(()), Err(TransactError::Aborted(Error::Exists)), Ok(())]);
        let view = rig.store.view();
        let versions = view.services().map(|service| (service.id.as_str(), service.meta.version));
        assert_eq!(versions.collect::<Vec<_>>(), [("a", 1), ("c", 2)], "each with its own version");
    });
}
