//! Generic resources (`scheduler-and-allocator` Part B).

use super::*;

fn counted(kind: &str, value: i64) -> wire::GenericResource {
    use wire::generic_resource::Resource::DiscreteResourceSpec;
    let counted = wire::DiscreteGenericResource { kind: kind.to_owned(), value };
    wire::GenericResource { resource: Some(DiscreteResourceSpec(counted)) }
}

fn named(kind: &str, value: &str) -> wire::GenericResource {
    use wire::generic_resource::Resource::NamedResourceSpec;
    let named = wire::NamedGenericResource { kind: kind.to_owned(), value: value.to_owned() };
    wire::GenericResource { resource: Some(NamedResourceSpec(named)) }
}

fn offering(id: &str, resources: &[wire::GenericResource]) -> Node {
    node(id, |node| {
        let description = node.description.as_mut().expect("a description");
        description.resources.as_mut().expect("resources").generic = resources.to_vec();
    })
}

fn wanting(id: &str, resources: &[wire::GenericResource]) -> Task {
    let mut task = reserving(id, 0, 0);
    let spec = Arc::make_mut(&mut task.spec);
    let requirements = spec.resources.as_mut().expect("requirements");
    requirements.reservations.as_mut().expect("reservations").generic = resources.to_vec();
    task
}

fn holding(id: &str, resources: &[wire::GenericResource]) -> Task {
    let task = running(wanting(id, &[]), "a");
    Task { assigned_generic_resources: resources.into(), ..task }
}

#[test]
fn enough() {
    let gpus = [named("gpu", "y"), named("gpu", "x")];
    let cases = [
        ("enough: a kind that is not there", vec![], counted("apple", 1), false),
        ("enough: counted, as many", vec![counted("apple", 3)], counted("apple", 3), true),
        ("enough: counted, one too many", vec![counted("apple", 3)], counted("apple", 4), false),
        ("enough: as many names", gpus.to_vec(), counted("gpu", 2), true),
        ("enough: one name too few", gpus.to_vec(), counted("gpu", 3), false),
        ("requests must be discrete", gpus.to_vec(), named("gpu", "x"), false),
        (
            "enough: the first of a kind says its form",
            vec![counted("gpu", 1), named("gpu", "x"), named("gpu", "y")],
            counted("gpu", 2),
            false,
        ),
        (
            "enough: a later form does not count",
            vec![named("gpu", "x"), counted("gpu", 5)],
            counted("gpu", 2),
            false,
        ),
    ];
    for (row, offered, wanted, expected) in cases {
        let fits = fits(offering("a", &offered), &wanting("t", &[wanted]));
        assert_eq!(fits, expected, "Part B {row}");
    }
}

/// What three tasks that want `wanted` each get of a node.
fn assigned(
    offered: &[wire::GenericResource],
    wanted: wire::GenericResource,
) -> Vec<Option<Vec<wire::GenericResource>>> {
    let tasks = ["1", "2", "3"].map(|id| wanting(id, std::slice::from_ref(&wanted)).into());
    let view = with(tasks.into_iter().chain([offering("a", offered).into()]));
    let decisions = decide_all(&mut board(view));
    let generic = |decision: Decision| match decision.outcome {
        Outcome::Placed { generic, .. } => Some(generic.to_vec()),
        Outcome::Waits { .. } | Outcome::Stopped => None,
    };
    decisions.into_iter().map(generic).collect()
}

#[test]
fn claim() {
    let names = ["z", "y", "x", "w"].map(|name| named("gpu", name));
    assert_eq!(
        assigned(&names, counted("gpu", 2)),
        [Some(names[..2].to_vec()), Some(names[2..].to_vec()), None],
        "Part B claim: the first names, in the order of the node"
    );
    assert_eq!(
        assigned(&[counted("apple", 3)], counted("apple", 1)),
        vec![Some(vec![counted("apple", 1)]); 3],
        "Part B claim: a number"
    );
    assert_eq!(
        assigned(&[counted("apple", 1)], counted("apple", 1)),
        [Some(vec![counted("apple", 1)]), None, None],
        "Part B claim: at nothing left it is gone"
    );
}

#[test]
fn reclaim() {
    let view = with([
        offering("a", &[named("gpu", "x")]).into(),
        holding("old", &[named("gpu", "x")]).into(),
        wanting("t", &[counted("gpu", 1)]).into(),
    ]);
    let mut board = board(view.clone());
    assert_eq!(
        decide_all(&mut board).iter().map(told).collect::<Vec<_>>(),
        ["no suitable node (insufficient resources on 1 node)"]
    );
    commit(&mut board, &view, |head| {
        let mut old = head.task(&"old".into()).expect("there").as_ref().clone();
        old.status.state = TaskState::FAILED;
        head.update(old).unwrap();
    });
    let again = decide_all(&mut board);
    assert_eq!(again.iter().map(told).collect::<Vec<_>>(), ["t@a"], "Part B reclaim");
    let generic = again[0].result(NOW).assigned_generic_resources;
    assert_eq!(*generic, [named("gpu", "x")]);
}

/// How many of `gpu` are left when a node with a task that holds `held` describes itself anew and
/// the task ends.
fn left_after(held: &[wire::GenericResource], described: &[wire::GenericResource]) -> usize {
    let view = with([offering("a", held).into(), holding("old", held).into()]);
    let mut board = board(view.clone());
    let view = commit(&mut board, &view, |head| {
        let stored = head.node(&"a".into()).expect("there");
        let node = Node { meta: stored.meta, ..offering("a", described) };
        head.update(node).unwrap();
    });
    commit(&mut board, &view, |head| {
        let mut old = head.task(&"old".into()).expect("there").as_ref().clone();
        old.status.state = TaskState::COMPLETE;
        head.update(old).unwrap();
        for number in 0..9 {
            head.create(wanting(&number.to_string(), &[counted("gpu", 1)])).unwrap();
        }
    });
    decide_all(&mut board).iter().filter(|decision| told(decision).contains('@')).count()
}

#[test]
fn sanitise() {
    let names = |names: &[&str]| names.iter().map(|name| named("gpu", name)).collect::<Vec<_>>();
    let cases = [
        ("nothing changed", names(&["x", "y"]), names(&["x", "y"]), 2),
        ("unknown kind removed", names(&["x", "y"]), vec![counted("apple", 3)], 0),
        ("kind switched type: numbers now", names(&["x", "y"]), vec![counted("gpu", 1)], 1),
        ("kind switched type: names now", vec![counted("gpu", 5)], names(&["x"]), 1),
        ("discrete above description clipped", vec![counted("gpu", 5)], vec![counted("gpu", 3)], 3),
        ("names not in description removed", names(&["x", "y"]), names(&["y", "z"]), 2),
    ];
    for (row, held, described, left) in cases {
        assert_eq!(left_after(&held, &described), left, "Part B sanitise: {row}");
    }
}
