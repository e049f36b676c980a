//! Placement preferences (`scheduler-and-allocator` §6.1, §6.2).

use std::collections::BTreeMap;

use super::*;

/// A node with labels, given as `name=value`; those that begin with `engine.` are its engine's.
fn labelled(id: &str, labels: &[&str]) -> Node {
    node(id, |node| {
        let mut own = wire::Annotations::default();
        for label in labels {
            let (name, value) = label.split_once('=').expect("name=value");
            match name.strip_prefix("engine.") {
                Some(name) => {
                    let description = node.description.as_mut().expect("a description");
                    let engine = description.engine.as_mut().expect("an engine");
                    engine.labels.insert(name.to_owned(), value.to_owned());
                }
                None => drop(own.labels.insert(name.to_owned(), value.to_owned())),
            }
        }
        node.spec.as_mut().expect("a spec").annotations = Some(own);
    })
}

fn over(id: &str, descriptors: &[&str]) -> Task {
    let preference = |descriptor: &&str| {
        let spread = wire::SpreadOver { spread_descriptor: (*descriptor).to_owned() };
        let preference = Some(wire::placement_preference::Preference::Spread(spread));
        wire::PlacementPreference { preference }
    };
    let preferences = descriptors.iter().map(preference).collect();
    asking(id, |spec| {
        spec.placement = Some(wire::Placement { preferences, ..Default::default() });
    })
}

/// How many of so many tasks each node gets.
fn shares(
    objects: impl IntoIterator<Item = Object>,
    tasks: impl IntoIterator<Item = Task>,
) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    let tasks = tasks.into_iter().map(Object::from);
    for told in outcome(objects.into_iter().chain(tasks)) {
        let node = told.split_once('@').map_or("nowhere", |(_, node)| node);
        *shares.entry(node.to_owned()).or_default() += 1;
    }
    shares
}

fn expected(shares: &[(&str, usize)]) -> BTreeMap<String, usize> {
    shares.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect()
}

fn many(count: usize, descriptors: &[&str]) -> Vec<Task> {
    (0..count).map(|number| over(&format!("t{number:03}"), descriptors)).collect()
}

#[test]
fn over_labels() {
    let racks = || {
        vec![
            labelled("a1", &["rack=a", "engine.zone=x"]).into(),
            labelled("a2", &["rack=a", "engine.zone=y"]).into(),
            labelled("a3", &["rack=a", "engine.zone=y"]).into(),
            labelled("b1", &["rack=b", "engine.zone=x"]).into(),
        ]
    };
    let even = expected(&[("a1", 3), ("a2", 3), ("a3", 3), ("b1", 3)]);
    let by_rack = expected(&[("a1", 2), ("a2", 2), ("a3", 2), ("b1", 6)]);
    let by_zone = expected(&[("a1", 3), ("a2", 3), ("a3", 3), ("b1", 3)]);
    let by_both = expected(&[("a1", 3), ("a2", 2), ("a3", 1), ("b1", 6)]);
    let cases: [(&str, &[&str], _); 8] = [
        ("§6.1 no preference", &[], even.clone()),
        ("§6.1 a node's label", &["node.labels.rack"], by_rack.clone()),
        ("§6.1 the prefix in any case", &["NODE.Labels.rack"], by_rack.clone()),
        ("§6.1 the name in its case: all lack it", &["node.labels.Rack"], even.clone()),
        ("§6.1 an engine's label", &["engine.labels.zone"], by_zone),
        ("§6.1 levels", &["node.labels.rack", "engine.labels.zone"], by_both),
        ("§6.1 other descriptors are skipped", &["node.id", "node.labels.rack"], by_rack),
        ("§6.1 an empty name is skipped", &["node.labels."], even),
    ];
    for (row, descriptors, expected) in cases {
        assert_eq!(shares(racks(), many(12, descriptors)), expected, "{row}");
    }
}

#[test]
fn a_node_without_the_label_goes_to_the_empty_value() {
    let nodes = [labelled("a", &["rack=a"]).into(), plain("b").into(), plain("c").into()];
    let shares = shares(nodes, many(8, &["node.labels.rack"]));
    assert_eq!(shares, expected(&[("a", 4), ("b", 2), ("c", 2)]), "§6.1 lacking the label");
}

#[test]
fn the_tasks_that_are_there_count() {
    let on = |id: &str, node: &str| Object::from(running(over(id, &["node.labels.rack"]), node));
    let objects = [
        labelled("a", &["rack=a"]).into(),
        labelled("b", &["rack=b"]).into(),
        on("x", "a"),
        on("y", "a"),
        on("z", "a"),
    ];
    let shares = shares(objects, many(5, &["node.labels.rack"]));
    assert_eq!(shares, expected(&[("a", 1), ("b", 4)]), "§6.1 counts, §6.2 target");
}

#[test]
fn a_full_branch_leaves_its_share_to_the_others() {
    let big = |id: String| {
        let mut task = over(&id, &["node.labels.rack"]);
        Arc::make_mut(&mut task.spec).resources =
            reserving("", 1_000_000_000, 0).spec.resources.clone();
        task
    };
    let nodes = [
        labelled("a", &["rack=a"]).into(),
        labelled("b1", &["rack=b"]).into(),
        labelled("b2", &["rack=b"]).into(),
    ];
    let tasks = (0..8).map(|number| big(number.to_string()));
    let shares = shares(nodes, tasks);
    let expected = expected(&[("a", 2), ("b1", 2), ("b2", 2), ("nowhere", 2)]);
    assert_eq!(shares, expected, "§6.2 full branches, and an end when all are");
}

#[test]
fn a_branch_stays_as_full_as_it_is_when_its_nodes_fill_up() {
    let mut small = labelled("a1", &["rack=a"]);
    let mut described = (**small.description.as_ref().expect("a description")).clone();
    described.resources.as_mut().expect("resources").nano_cpus = 1_000_000_000;
    small.description = Some(Arc::new(described));
    let nodes =
        [small.into(), labelled("a2", &["rack=a"]).into(), labelled("b", &["rack=b"]).into()];
    let tasks = (0..4).map(|number| {
        let mut task = over(&number.to_string(), &["node.labels.rack"]);
        Arc::make_mut(&mut task.spec).resources =
            reserving("", 1_000_000_000, 0).spec.resources.clone();
        task
    });
    assert_eq!(shares(nodes, tasks), expected(&[("a1", 1), ("a2", 1), ("b", 2)]));
}

#[test]
fn a_node_that_changes_its_label_moves() {
    let nodes = [labelled("a", &["rack=a"]).into(), labelled("b", &["rack=b"]).into()];
    let tasks = many(4, &["node.labels.rack"]).into_iter().map(Object::from);
    let view = with(nodes.into_iter().chain(tasks));
    let mut board = board(view.clone());
    let decisions = decide_all(&mut board);
    let view = carry_out(&mut board, &view, decisions);
    // Rack a has four tasks now, rack c none.
    commit(&mut board, &view, |head| {
        let meta = head.node(&"b".into()).expect("there").meta;
        head.update(Node { meta, ..labelled("b", &["rack=a"]) }).unwrap();
        head.create(labelled("c", &["rack=c"])).unwrap();
        for number in 0..6 {
            head.create(over(&format!("u{number}"), &["node.labels.rack"])).unwrap();
        }
    });
    let decisions = decide_all(&mut board);
    let on_c = decisions.iter().filter(|decision| told(decision).ends_with("@c")).count();
    assert_eq!((decisions.len(), on_c), (6, 5));
}
