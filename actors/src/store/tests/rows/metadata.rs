//! §3, §4.1 and §4.2: texts, versions and times, and how much a transaction may write.

use super::*;

#[test]
fn errors_have_the_texts_that_clients_know() {
    for (error, text) in [
        (Error::Exists.to_string(), "object already exists"),
        (Error::NotExist.to_string(), "object does not exist"),
        (Error::NameConflict.to_string(), "name conflicts with an existing object"),
        (Error::OutOfSequence.to_string(), "update out of sequence"),
        (Error::KindUnregistered.to_string(), "object kind is unregistered"),
        (Error::Immutable.to_string(), "extensions are immutable"),
    ] {
        assert_eq!(error, text);
    }
}

#[test]
fn an_id_is_taken_or_missing() {
    for kind in Kind::ALL {
        let view = write(&volcanoes(), |tx| tx.create(object(kind, "a", "a"))).unwrap();
        refused(&view, Error::Exists, |tx| tx.create(object(kind, "a", "b")));
        refused(&view, Error::NotExist, |tx| tx.update(object(kind, "b", "b")));
        refused(&view, Error::NotExist, |tx| tx.remove(kind, &Id::from("b")));
    }
}

/// The meta of what is stored under `a`.
fn meta(view: &View, kind: Kind) -> protocol::objects::Meta {
    *view.get(kind, &Id::from("a")).expect("it is there").meta()
}

#[test]
fn a_version_is_the_index_of_the_entry_that_wrote_it() {
    let before = Timestamp { seconds: 7, nanos: 0 };
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Extension) {
        let brought = protocol::objects::Meta { version: 99, ..Default::default() };
        let view = write(&volcanoes(), |tx| tx.create(object(kind, "a", "a").with_meta(brought)));
        let view = view.unwrap();
        let created = meta(&view, kind);
        assert_eq!(created.version, view.index(), "what a creation brings is ignored: {kind:?}");
        assert_eq!((created.created_at, created.updated_at), (Some(NOW), Some(NOW)), "{kind:?}");

        for wrong in [0, created.version - 1, created.version + 1] {
            let brought = protocol::objects::Meta { version: wrong, ..created };
            let outdated = object(kind, "a", "a").with_meta(brought);
            refused(&view, Error::OutOfSequence, |tx| tx.update(outdated));
        }
        let brought = protocol::objects::Meta { created_at: Some(before), ..created };
        let mut transaction = Transaction::begin(&view);
        transaction.update(object(kind, "a", "a").with_meta(brought)).unwrap();
        let later = Timestamp { seconds: 2_000, nanos: 0 };
        let sealed = transaction.seal(17, later);
        let updated = meta(&sealed.view, kind);
        assert_eq!(updated.version, 17, "{kind:?}");
        assert_eq!(updated.created_at, Some(before), "set only where there is none: {kind:?}");
        assert_eq!(updated.updated_at, Some(later), "always set: {kind:?}");
    }
}

#[test]
fn everything_in_a_transaction_has_one_version() {
    let objects: Vec<_> = Kind::ALL.iter().map(|kind| object(*kind, "a", "a")).collect();
    let create = |tx: &mut Transaction| objects.iter().cloned().try_for_each(|one| tx.create(one));
    let view = write(&volcanoes(), create).unwrap();
    let versions = Kind::ALL.map(|kind| meta(&view, kind).version);
    assert_eq!(versions, [2; 10]);
}

#[test]
fn what_is_applied_from_the_log_is_taken_as_it_is() {
    let view = write(&volcanoes(), |tx| tx.create(object(Kind::Service, "a", "a"))).unwrap();
    let old = Timestamp { seconds: 5, nanos: 0 };
    let meta = protocol::objects::Meta { version: 1, created_at: None, updated_at: Some(old) };
    let logged = object(Kind::Service, "a", "b").with_meta(meta);
    let actions = vec![logged.to_action(wire::StoreActionKind::StoreActionUpdate)];
    let (view, _, skipped) = apply(&view, 9, actions, &mut Interner::default());
    assert_eq!(skipped, [], "no version is compared");
    assert_eq!(view.get(Kind::Service, &Id::from("a")), Some(logged), "and no time is set");
}

#[test]
fn a_transaction_is_as_large_as_in_the_original() {
    assert_eq!(CHANGES_PER_TRANSACTION, 200);
    assert_eq!(TRANSACTION_BYTES_MAX, 1_572_864);
}

#[test]
fn a_second_write_of_a_transaction_names_the_version_that_is_there_or_the_one_before() {
    let view = write(&volcanoes(), |tx| tx.create(object(Kind::Service, "a", "a"))).unwrap();
    let stored = view.service(&"a".into()).unwrap().clone();
    let with = |version| {
        let mut again = Service::clone(&stored);
        again.meta.version = version;
        again
    };
    for (case, version, expected) in [
        ("the one before the transaction", 2, Ok(())),
        ("its own", 3, Ok(())),
        ("an earlier one", 1, Err(Error::OutOfSequence)),
        ("none", 0, Err(Error::OutOfSequence)),
    ] {
        let mut transaction = Transaction::on(view.clone(), 3, NOW);
        transaction.update(stored.clone()).unwrap();
        assert_eq!(transaction.update(with(version)), expected, "{case}");
    }
    let mut transaction = Transaction::on(view, 3, NOW);
    transaction.create(object(Kind::Service, "b", "b")).unwrap();
    assert_eq!(transaction.update(object(Kind::Service, "b", "c")), Ok(()), "what it has made");
}
