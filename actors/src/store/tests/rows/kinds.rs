//! §1: the ten kinds, their places on the wire, their names and what else is checked.

use super::*;

/// One row of the table.
struct Row {
    kind: Kind,
    /// The field of a `StoreSnapshot`.
    field: u32,
    /// The field of a `StoreAction`.
    target: u32,
    unique: bool,
}

const ROWS: [Row; 10] = [
    Row { kind: Kind::Node, field: 1, target: 2, unique: false },
    Row { kind: Kind::Service, field: 2, target: 3, unique: true },
    Row { kind: Kind::Network, field: 3, target: 5, unique: true },
    Row { kind: Kind::Task, field: 4, target: 4, unique: false },
    Row { kind: Kind::Cluster, field: 5, target: 6, unique: true },
    Row { kind: Kind::Secret, field: 6, target: 7, unique: true },
    Row { kind: Kind::Resource, field: 7, target: 8, unique: true },
    Row { kind: Kind::Extension, field: 8, target: 9, unique: true },
    Row { kind: Kind::Config, field: 9, target: 10, unique: true },
    Row { kind: Kind::Volume, field: 10, target: 11, unique: true },
];

/// The tag of the field that begins here; those of these messages fit into one byte.
fn tag(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) >> 3
}

#[test]
fn every_kind_has_its_fields_on_the_wire() {
    for Row { kind, field, target, .. } in ROWS {
        let object = object(kind, "id", "name");
        let mut restore = Restore::default();
        let create = wire::StoreActionKind::StoreActionCreate;
        let action = object.to_action(create).encode_to_vec();
        restore.add(&action).unwrap();
        let fields: Vec<_> = restore.finish(1).encode_fields().collect();
        assert_eq!(fields.iter().map(|bytes| tag(bytes)).collect::<Vec<_>>(), [field], "{kind:?}");
        // Its first field is the kind of action, two bytes long.
        assert_eq!((tag(&action), tag(&action[2..])), (1, target), "{kind:?}");
    }
}

#[test]
fn actions_have_their_numbers() {
    for (action, number) in [
        (wire::StoreActionKind::Unknown, 0),
        (wire::StoreActionKind::StoreActionCreate, 1),
        (wire::StoreActionKind::StoreActionUpdate, 2),
        (wire::StoreActionKind::StoreActionRemove, 3),
    ] {
        assert_eq!(action as i32, number, "{action:?}");
    }
}

#[test]
fn a_removal_carries_the_whole_object_and_needs_only_its_id() {
    for Row { kind, .. } in ROWS {
        let view = write(&volcanoes(), |tx| tx.create(object(kind, "id", "name"))).unwrap();
        let stored = view.get(kind, &Id::from("id")).unwrap();
        let mut transaction = Transaction::begin(&view);
        transaction.remove(kind, &Id::from("id")).unwrap();
        let sealed = transaction.seal(3, NOW);
        let remove = wire::StoreActionKind::StoreActionRemove;
        assert_eq!(sealed.actions(), [stored.to_action(remove)], "{kind:?}");
        let bare = vec![object(kind, "id", "").to_action(remove)];
        let (applied, _, skipped) = apply(&view, 3, bare, &mut Interner::default());
        assert_eq!((skipped, applied.get(kind, &Id::from("id"))), (vec![], None), "{kind:?}");
    }
}

#[test]
fn names_are_unique_or_not_in_any_case() {
    for Row { kind, unique, .. } in ROWS {
        let view = write(&volcanoes(), |tx| tx.create(object(kind, "a", "Etna"))).unwrap();
        let second = write(&view, |tx| tx.create(object(kind, "b", "eTNA")));
        assert_eq!(second.err(), unique.then_some(Error::NameConflict), "create {kind:?}");
        let view = write(&view, |tx| tx.create(object(kind, "b", "Fuji"))).unwrap();
        let stored = *view.get(kind, &Id::from("b")).unwrap().meta();
        let renamed = object(kind, "b", "ETNA").with_meta(stored);
        let expected = match kind {
            Kind::Node | Kind::Task => None,
            // The name of a resource is looked at only when it is created.
            Kind::Resource => None,
            Kind::Extension => Some(Error::Immutable),
            Kind::Cluster
            | Kind::Config
            | Kind::Network
            | Kind::Secret
            | Kind::Service
            | Kind::Volume => Some(Error::NameConflict),
        };
        let renamed = write(&view, |tx| tx.update(renamed));
        assert_eq!(renamed.as_ref().err(), expected.as_ref(), "update {kind:?}");
        if let Ok(view) = renamed {
            view.verify_indices();
        }
        let stored = *view.get(kind, &Id::from("a")).unwrap().meta();
        let same = object(kind, "a", "Etna").with_meta(stored);
        let kept = write(&view, |tx| tx.update(same));
        let expected = (kind == Kind::Extension).then_some(Error::Immutable);
        assert_eq!(kept.err(), expected, "its own name is no conflict: {kind:?}");
    }
}

#[test]
fn the_nameless_are_no_conflict() {
    for Row { kind, .. } in ROWS {
        let view = write(&volcanoes(), |tx| tx.create(object(kind, "a", ""))).unwrap();
        assert!(write(&view, |tx| tx.create(object(kind, "b", ""))).is_ok(), "{kind:?}");
    }
}

#[test]
fn the_name_of_a_resource_is_unique_over_all_its_kinds() {
    let view = write(&volcanoes(), |tx| tx.create(extension("geyser", "Geyser"))).unwrap();
    let view = write(&view, |tx| tx.create(resource("r", "hot", "Volcano"))).unwrap();
    refused(&view, Error::NameConflict, |tx| tx.create(resource("s", "hot", "Geyser")));
}

#[test]
fn two_resources_of_one_name_leave_it_to_whoever_is_left() {
    let view = write(&volcanoes(), |tx| tx.create(resource("b", "hot", "Volcano"))).unwrap();
    let view = write(&view, |tx| tx.create(resource("a", "cold", "Volcano"))).unwrap();
    let mut renamed = resource("a", "HOT", "Volcano");
    renamed.meta.version = view.index();
    let view = write(&view, |tx| tx.update(renamed)).unwrap();
    view.verify_indices();
    assert_eq!(view.named(Kind::Resource, "hot"), Some(&Id::from("a")));
    let view = write(&view, |tx| tx.remove(Kind::Resource, &Id::from("a"))).unwrap();
    assert_eq!(view.named(Kind::Resource, "hot"), Some(&Id::from("b")));
    refused(&view, Error::NameConflict, |tx| tx.create(resource("c", "hot", "Volcano")));
}

#[test]
fn resources_need_an_extension_and_extensions_never_change() {
    let view = write(&volcanoes(), |tx| tx.create(resource("r", "etna", "Volcano"))).unwrap();
    let version = view.index();
    let changed = |kind: &str| {
        let mut changed = resource("r", "etna", kind);
        changed.meta.version = version;
        changed
    };
    let mut immutable = extension("volcano", "Volcano");
    immutable.meta.version = 1;
    type Attempt = Box<dyn FnOnce(&mut Transaction) -> Result<(), Error>>;
    let cases: Vec<(&str, Attempt, Result<(), Error>)> = vec![
        (
            "create a resource of no extension",
            Box::new(|tx| tx.create(resource("s", "s", "Geyser"))),
            Err(Error::KindUnregistered),
        ),
        (
            "create a resource, the extension in another case",
            Box::new(|tx| tx.create(resource("s", "s", "vOLCANO"))),
            Ok(()),
        ),
        (
            "update a resource to no extension",
            Box::new({
                let changed = changed("Geyser");
                |tx| tx.update(changed)
            }),
            Err(Error::KindUnregistered),
        ),
        (
            "update a resource of its extension",
            Box::new({
                let changed = changed("Volcano");
                |tx| tx.update(changed)
            }),
            Ok(()),
        ),
        ("update an extension", Box::new(|tx| tx.update(immutable)), Err(Error::Immutable)),
        (
            "create an extension that is called like another",
            Box::new(|tx| tx.create(extension("e", "VOLCANO"))),
            Err(Error::NameConflict),
        ),
        (
            "remove an extension with resources",
            Box::new(|tx| tx.remove(Kind::Extension, &Id::from("volcano"))),
            Err(Error::KindInUse),
        ),
        (
            "remove the last resource, then the extension",
            Box::new(|tx| {
                tx.remove(Kind::Resource, &Id::from("r"))?;
                tx.remove(Kind::Extension, &Id::from("volcano"))
            }),
            Ok(()),
        ),
        (
            "remove an extension with a resource that writes it otherwise",
            Box::new(|tx| {
                tx.remove(Kind::Resource, &Id::from("r"))?;
                tx.create(resource("s", "s", "VOLCANO"))?;
                tx.remove(Kind::Extension, &Id::from("volcano"))
            }),
            Err(Error::KindInUse),
        ),
    ];
    for (case, attempt, expected) in cases {
        assert_eq!(write(&view, attempt).map(drop), expected, "{case}");
    }
}

#[test]
fn no_extension_is_called_like_a_kind_that_is_built_in() {
    for kind in Kind::ALL {
        refused(&View::default(), Error::NameConflict, |tx| tx.create(extension("e", kind.name())));
    }
}

#[test]
fn a_task_has_its_own_name_or_one_that_is_made_up() {
    let own = Some(Arc::new(named("own")));
    for (case, annotations, slot, name) in [
        ("its own", own, 3, "own"),
        ("of service, slot and id", None, 3, "web.3.t"),
        ("of service, node and id", None, 0, "web.n.t"),
    ] {
        let mut task = task("t", "s", slot, "n");
        task.annotations = annotations;
        task.service_annotations = Arc::new(named("web"));
        assert_eq!(task.name(), name, "{case}");
    }
}
