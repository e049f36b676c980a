//! §5: what is said of a change, in which order, and where one may begin to listen.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::time::sleep;

use super::*;
use crate::store::{
    Event,
    tests::memory::{Listener, Rig, create, run, settle, spawn},
};

/// Whether an object was there before and is there after, as the changes of a transaction say.
fn sides(changes: &Changes, kind: Kind) -> [bool; 2] {
    let after = changes.side(changes::Side::After);
    let after = after.into_iter().find(|(of, ..)| *of == kind).and_then(|(.., after)| after);
    [changes.before(kind, "a").is_some(), after.is_some()]
}

#[test]
fn every_kind_is_created_updated_and_removed() {
    run(async |tree| {
        let store = testing::start(tree, volcanoes());
        testing::until_leading(&store).await;
        let begins = store.feed().begins();
        for kind in Kind::ALL {
            store.transact(move |tx| tx.create(object(kind, "a", "a"))).await.expect("it is new");
            let update = move |tx: &mut Transaction| {
                let stored = tx.get(kind, &Id::from("a")).expect("it is there");
                tx.update(stored)
            };
            let updated = store.transact(update).await;
            assert_eq!(updated.is_err(), kind == Kind::Extension, "{kind:?}");
            store.transact(move |tx| tx.remove(kind, &Id::from("a"))).await.expect("it is there");
        }
        let mut said =
            store.feed().after(begins).expect("it is not long ago").transactions.into_iter();
        for kind in Kind::ALL {
            let created = said.next().expect("a creation");
            assert_eq!(created.actions()[0].action, 1, "{kind:?}");
            assert_eq!(sides(created.changes().expect("known"), kind), [false, true], "{kind:?}");
            if kind != Kind::Extension {
                let updated = said.next().expect("an update");
                assert_eq!(updated.actions()[0].action, 2, "{kind:?}");
                assert_eq!(
                    sides(updated.changes().expect("known"), kind),
                    [true, true],
                    "{kind:?}"
                );
            }
            let removed = said.next().expect("a removal");
            assert_eq!(removed.actions()[0].action, 3, "{kind:?}");
            assert_eq!(sides(removed.changes().expect("known"), kind), [true, false], "{kind:?}");
        }
        assert!(said.next().is_none());
    });
}

#[test]
fn events_come_in_the_order_of_the_changes_and_then_their_version() {
    run(async |tree| {
        let store = testing::start(tree, View::default());
        testing::until_leading(&store).await;
        let decide = |tx: &mut Transaction| {
            tx.create(service("b", "b"))?;
            tx.create(secret("z", "z"))?;
            tx.create(service("a", "a"))?;
            tx.remove(Kind::Service, &Id::from("b"))
        };
        store.transact(decide).await.expect("written");
        create(&store, "c").await.expect("written");
        let page = store.feed().after(0).expect("it is not long ago");
        let said = page.transactions.iter().map(|applied| {
            let actions = applied.actions().iter().map(|action| {
                let object = Object::from_target(action.target.clone().expect("it has one"));
                format!("{}{}", action.action, object.id())
            });
            (applied.index(), actions.collect::<Vec<_>>().join(" "))
        });
        let expected = [(1, "1b 1z 1a 3b".to_owned()), (2, "1c".to_owned())];
        assert_eq!(said.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_transaction_without_changes_is_no_event() {
    run(async |tree| {
        let store = testing::start(tree, View::default());
        testing::until_leading(&store).await;
        store.transact(|_| Ok::<_, Error>(())).await.expect("nothing to write");
        assert!(store.feed().after(0).expect("it is not long ago").transactions.is_empty());
    });
}

#[test]
fn differs_changes_of_followers_have_their_version_too() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let outcome = spawn(create(&rig.store, "a"));
        settle().await;
        let entries = rig.taken(2);
        rig.tell(1, vec![Event::Follow, Event::Apply(entries)]).await;
        outcome.await.expect("no panic").unwrap_err();
        let page = rig.store.feed().after(0).expect("it is not long ago");
        let said: Vec<_> = page.transactions.iter().map(|applied| applied.index()).collect();
        assert_eq!(said, [1]);
    });
}

#[test]
fn who_subscribes_reads_the_whole_and_then_every_change_without_gap_or_overlap() {
    run(async |tree| {
        let rig = Rig::leading(tree).await;
        let heard = Rc::<RefCell<Vec<_>>>::default();
        let listener = {
            let heard = heard.clone();
            tree.child("listener", move |_| Listener { heard: heard.clone() })
        };
        let before = spawn(create(&rig.store, "before"));
        settle().await;
        rig.tell(1, vec![Event::Apply(rig.taken(2))]).await;
        let meanwhile = spawn(create(&rig.store, "meanwhile"));
        settle().await;
        rig.store.subscribe("listener", listener.recipient());
        settle().await;
        rig.tell(1, vec![Event::Apply(rig.taken(2))]).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(*heard.borrow(), ["all at 1", "meanwhile at 2"]);
        drop((before, meanwhile));
    });
}
