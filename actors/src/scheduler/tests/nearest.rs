//! Why nodes cannot run a task, as data, and which comes closest.

use super::*;
use crate::scheduler::{Filter, Lack};

fn labelled(id: &str, change: impl FnOnce(&mut wire::Node)) -> Node {
    node(id, |node| {
        let labels = [("disk".to_owned(), "ssd".to_owned())].into();
        let annotations = Some(wire::Annotations { labels, ..Default::default() });
        node.spec.as_mut().expect("a spec").annotations = annotations;
        change(node);
    })
}

/// Wants a processor and a half, and the label of [`labelled`].
fn demanding() -> Task {
    asking("t", |spec| {
        spec.resources = reserving("", 1_500_000_000, 0).spec.resources.clone();
        let constraints = vec!["node.labels.disk == ssd".to_owned()];
        spec.placement = Some(wire::Placement { constraints, ..Default::default() });
    })
}

fn user(id: &str, node: &str, nano_cpus: i64) -> Object {
    running(reserving(id, nano_cpus, 0), node).into()
}

#[test]
fn the_nearest_fails_fewest_then_latest_then_by_least() {
    let cpus = |free| Lack::NanoCpus { wanted: 1_500_000_000, free };
    let label = Lack::Constraint { expression: "node.labels.disk == ssd".to_owned() };
    let (full, emptier) = (user("x", "a", 2_000_000_000), user("y", "b", 1_000_000_000));
    let cases: [(&str, Vec<Object>, &str, Vec<Lack>); 4] = [
        (
            "one filter before two",
            vec![plain("a").into(), labelled("b", |_| {}).into(), full.clone(), emptier.clone()],
            "b",
            vec![cpus(1_000_000_000)],
        ),
        (
            "a later filter before an earlier",
            vec![plain("a").into(), labelled("b", |_| {}).into(), emptier.clone()],
            "a",
            vec![label.clone()],
        ),
        (
            "less missing before more",
            vec![labelled("a", |_| {}).into(), labelled("b", |_| {}).into(), full.clone(), emptier],
            "b",
            vec![cpus(1_000_000_000)],
        ),
        (
            "the lower id, and everything that it lacks",
            vec![plain("b").into(), plain("a").into(), full, user("y", "b", 2_000_000_000)],
            "a",
            vec![cpus(0), label],
        ),
    ];
    for (name, objects, nearest, lacks) in cases {
        let explanation = explain(&with(objects), &demanding());
        let miss = explanation.nearest.expect(name);
        assert_eq!((miss.node.as_str(), miss.lacks), (nearest, lacks), "{name}");
        assert_eq!(explanation.suitable, 0, "{name}");
    }
}

#[test]
fn the_counts_are_those_that_the_task_is_told() {
    let view = with([
        node("a", drained).into(),
        plain("b").into(),
        labelled("c", |_| {}).into(),
        user("x", "c", 1_000_000_000),
    ]);
    let explanation = explain(&view, &demanding());
    let counts = [(Filter::Ready, 1), (Filter::Resources, 1), (Filter::Constraints, 1)];
    assert_eq!(explanation.failed, counts);
    let told = outcome(
        view.objects().filter(|object| object.id().as_str() != "s").chain([demanding().into()]),
    );
    assert_eq!(told, [format!("no suitable node ({explanation})")]);
}

#[test]
fn a_node_that_fits_is_counted_and_is_no_miss() {
    let explanation = explain(&with([labelled("a", |_| {}).into()]), &demanding());
    assert_eq!((explanation.suitable, explanation.nearest), (1, None));
}

#[test]
fn every_filter_has_its_lack() {
    let view = with([node("a", drained).into(), running(publishing("x", 80), "a").into()]);
    let mut task = publishing("t", 80);
    let spec = Arc::make_mut(&mut task.spec);
    spec.resources = reserving("", i64::MAX, i64::MAX).spec.resources.clone();
    spec.log_driver = Some(wire::Driver { name: "gelf".to_owned(), ..Default::default() });
    spec.placement = Some(wire::Placement {
        constraints: vec!["node.id == b".to_owned()],
        platforms: vec![wire::Platform { os: "plan9".to_owned(), ..Default::default() }],
        max_replicas: 1,
        ..Default::default()
    });
    let mounts = vec![wire::Mount {
        r#type: wire::mount::Type::Cluster.into(),
        source: "none".to_owned(),
        ..Default::default()
    }];
    let container = wire::ContainerSpec { image: "redis".to_owned(), mounts, ..Default::default() };
    spec.runtime = Some(wire::task_spec::Runtime::Container(container));
    let miss = explain(&view, &task).nearest.expect("a node");
    let mut filters: Vec<_> = miss.lacks.iter().map(Lack::filter).collect();
    filters.dedup();
    let expected = Filter::ALL.into_iter().filter(|filter| *filter != Filter::Plugin);
    assert_eq!(filters, expected.collect::<Vec<_>>(), "an engine without log plugins has all");
}
