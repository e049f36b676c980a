//! Cluster volumes (`scheduler-and-allocator` §8).

use std::{collections::BTreeMap, time::Duration};

use protocol::objects::Volume;
use tokio::time::sleep;
use wire::{
    volume_access_mode::{Scope, Sharing},
    volume_publish_status::State as Publish,
    volume_spec::VolumeAvailability,
};

use super::{actor::run, *};
use crate::store::CHANGES_PER_TRANSACTION;

const NO_VOLUME: &str = "no suitable node (cannot fulfill requested CSI volume mounts on 1 node)";

/// A volume for everybody, named as its id, changed by the test.
fn volume(id: &str, change: impl FnOnce(&mut wire::Volume)) -> Volume {
    let access_mode = wire::VolumeAccessMode {
        scope: Scope::MultiNode.into(),
        sharing: Sharing::All.into(),
        ..Default::default()
    };
    let annotations = Some(wire::Annotations { name: id.to_owned(), ..Default::default() });
    let driver = Some(wire::Driver { name: "disks".to_owned(), ..Default::default() });
    let spec = wire::VolumeSpec {
        annotations,
        driver,
        access_mode: Some(access_mode),
        ..Default::default()
    };
    let info = wire::VolumeInfo { volume_id: format!("made-{id}"), ..Default::default() };
    let mut volume = wire::Volume {
        id: id.to_owned(),
        spec: Some(spec),
        volume_info: Some(info),
        ..Default::default()
    };
    change(&mut volume);
    volume.into()
}

fn mode(scope: Scope, sharing: Sharing) -> impl FnOnce(&mut wire::Volume) {
    move |volume| {
        let mode = volume.spec.as_mut().expect("a spec").access_mode.as_mut().expect("a mode");
        mode.set_scope(scope);
        mode.set_sharing(sharing);
    }
}

fn of_group(volume: &mut wire::Volume) {
    volume.spec.as_mut().expect("a spec").group = "g".to_owned();
}

/// A task that mounts these sources; those that end in `:ro` for reading.
fn mounting(id: &str, sources: &[&str]) -> Task {
    let mount = |source: &&str| wire::Mount {
        r#type: wire::mount::Type::Cluster.into(),
        source: source.trim_end_matches(":ro").to_owned(),
        target: format!("/{source}"),
        readonly: source.ends_with(":ro"),
        ..Default::default()
    };
    let mounts = sources.iter().map(mount).collect();
    asking(id, |spec| {
        let container =
            wire::ContainerSpec { image: "host".to_owned(), mounts, ..Default::default() };
        spec.runtime = Some(wire::task_spec::Runtime::Container(container));
    })
}

fn using(task: Task, volume: &str, node: &str) -> Task {
    let mounts = match &task.spec.runtime {
        Some(wire::task_spec::Runtime::Container(container)) => container.mounts.clone(),
        _ => Vec::new(),
    };
    let attachment = wire::VolumeAttachment {
        id: volume.to_owned(),
        source: mounts[0].source.clone(),
        target: mounts[0].target.clone(),
    };
    Task { volumes: [attachment].into(), ..running(task, node) }
}

#[test]
fn a_volume_fits() {
    use {Scope::*, Sharing as Share};
    let user = |source: &str, node: &str| Some(using(mounting("x", &[source]), "v", node));
    let cases = [
        ("sharing ALL", MultiNode, Share::All, user("v", "b"), "v", true),
        ("scope SINGLE_NODE: elsewhere", SingleNode, Share::All, user("v", "b"), "v", false),
        ("scope SINGLE_NODE: here", SingleNode, Share::All, user("v", "a"), "v", true),
        ("sharing NONE: nobody", MultiNode, Share::None, None, "v", true),
        ("sharing NONE: a reader", MultiNode, Share::None, user("v:ro", "a"), "v:ro", false),
        ("sharing READ_ONLY: to read", MultiNode, Share::ReadOnly, user("v:ro", "b"), "v:ro", true),
        ("sharing READ_ONLY: to write", MultiNode, Share::ReadOnly, None, "v", false),
        ("sharing ONE_WRITER: a second", MultiNode, Share::OneWriter, user("v", "b"), "v", false),
        (
            "sharing ONE_WRITER: the first",
            MultiNode,
            Share::OneWriter,
            user("v:ro", "b"),
            "v",
            true,
        ),
        ("sharing ONE_WRITER: a reader", MultiNode, Share::OneWriter, user("v", "b"), "v:ro", true),
    ];
    for (row, scope, sharing, user, source, expected) in cases {
        let objects = [plain("a").into(), volume("v", mode(scope, sharing)).into()];
        let objects = objects.into_iter().chain(user.map(Object::from));
        let told = outcome(objects.chain([mounting("t", &[source]).into()]));
        assert_eq!(told, [if expected { "t@a" } else { NO_VOLUME }], "§8 {row}");
    }
    for availability in [VolumeAvailability::Pause, VolumeAvailability::Drain] {
        let inactive = volume("v", |volume| {
            volume.spec.as_mut().expect("a spec").set_availability(availability);
        });
        let told = outcome([plain("a").into(), inactive.into(), mounting("t", &["v"]).into()]);
        assert_eq!(told, [NO_VOLUME], "§8 availability {availability:?}");
    }
    let unmade = volume("v", |volume| volume.volume_info = None);
    let told = outcome([plain("a").into(), unmade.into(), mounting("t", &["v"]).into()]);
    assert_eq!(told, [NO_VOLUME], "§1 volumes: VolumeID non-empty");
}

#[test]
fn topology() {
    let segments = |segments: &[(&str, &str)]| wire::Topology {
        segments: segments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let in_zone = |zone: Option<&str>| {
        node("a", |node| {
            let info = wire::NodeCsiInfo {
                plugin_name: "disks".to_owned(),
                accessible_topology: zone.map(|zone| segments(&[("zone", zone), ("rack", "1")])),
                ..Default::default()
            };
            node.description.as_mut().expect("a description").csi_info = vec![info];
        })
    };
    let reachable = |topologies: Vec<wire::Topology>| {
        volume("v", |volume| {
            volume.volume_info.as_mut().expect("made").accessible_topology = topologies;
        })
    };
    let cases = [
        ("the node says nothing", in_zone(None), vec![segments(&[("zone", "x")])], true),
        ("nothing is known of the driver", plain("a"), vec![segments(&[("zone", "x")])], true),
        ("the volume says nothing", in_zone(Some("y")), vec![], true),
        ("every segment", in_zone(Some("x")), vec![segments(&[("zone", "x")])], true),
        ("another value", in_zone(Some("y")), vec![segments(&[("zone", "x")])], false),
        (
            "a segment that the node lacks",
            in_zone(Some("x")),
            vec![segments(&[("zone", "x"), ("room", "1")])],
            false,
        ),
        (
            "one of several",
            in_zone(Some("y")),
            vec![segments(&[("zone", "x")]), segments(&[("zone", "y")])],
            true,
        ),
    ];
    for (row, node, topologies, expected) in cases {
        let objects = [node.into(), reachable(topologies).into(), mounting("t", &["v"]).into()];
        let told = outcome(objects);
        assert_eq!(told, [if expected { "t@a" } else { NO_VOLUME }], "§8 topology: {row}");
    }
}

#[test]
fn a_group_gives_each_mount_a_volume_of_its_own() {
    let alone = |volume: &mut wire::Volume| {
        of_group(volume);
        mode(Scope::SingleNode, Sharing::None)(volume);
    };
    let objects = [
        plain("a").into(),
        volume("v1", alone).into(),
        volume("v2", alone).into(),
        volume("v3", alone).into(),
        mounting("t", &["group:g", "group:g:ro"]).into(),
        mounting("u", &["group:g", "group:g:ro"]).into(),
    ];
    let decisions = decide_all(&mut board(with(objects)));
    let volumes = decisions[0].result(NOW).volumes;
    let ids: Vec<_> = volumes.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["v1", "v2"], "§8 group");
    let targets: Vec<_> = volumes.iter().map(|one| (&*one.source, &*one.target)).collect();
    assert_eq!(targets, [("group:g", "/group:g"), ("group:g", "/group:g:ro")], "§8 attachment");
    assert_eq!(told(&decisions[1]), NO_VOLUME, "§3 row 8: all mounts must be met");
}

#[test]
fn a_preassigned_task_without_a_volume() {
    let bound = Task { node_id: "a".into(), slot: 0, ..mounting("t", &["v"]) };
    let told = outcome([plain("a").into(), bound.into()]);
    assert_eq!(told, ["cannot find volume to satisfy mount with source v"], "§7");
}

#[test]
fn the_next_node_is_taken_when_the_best_cannot_reach_the_volume() {
    let single = volume("v", mode(Scope::SingleNode, Sharing::All));
    let objects = [
        plain("a").into(),
        plain("b").into(),
        single.into(),
        using(mounting("x", &["v"]), "v", "b").into(),
        mounting("t", &["v"]).into(),
    ];
    assert_eq!(outcome(objects), ["t@b"]);
}

fn publications(view: &View) -> Vec<(String, Publish)> {
    let volume = view.volume(&"v".into()).expect("there");
    volume.body.publish_status.iter().map(|one| (one.node_id.clone(), one.state())).collect()
}

#[test]
fn a_volume_is_published_where_it_is_used_and_taken_back_after() {
    let objects = [plain("a").into(), volume("v", |_| {}).into(), mounting("t", &["v"]).into()];
    let view = with(objects);
    let mut board = board(view.clone());
    let decisions = decide_all(&mut board);
    let view = carry_out(&mut board, &view, decisions);
    let pending = [("a".to_owned(), Publish::PendingPublish)];
    assert_eq!(publications(&view), pending, "§7 commit: publish entry");
    let view = commit(&mut board, &view, |head| {
        let mut volume = head.volume(&"v".into()).expect("there").as_ref().clone();
        Arc::make_mut(&mut volume.body).publish_status[0].set_state(Publish::Published);
        head.update(volume).unwrap();
    });
    assert_eq!(board.take_unused(100), [], "§8 freeing: in use");
    let view = commit(&mut board, &view, |head| {
        let mut task = head.task(&"t".into()).expect("there").as_ref().clone();
        task.status.state = TaskState::COMPLETE;
        head.update(task).unwrap();
    });
    let unused = board.take_unused(100);
    assert_eq!(unused.len(), 1, "§8 freeing: nobody uses it there");
    let view = commit(&mut board, &view, |head| {
        decision::unpublish(head, &unused).unwrap();
    });
    assert_eq!(publications(&view), [("a".to_owned(), Publish::PendingNodeUnpublish)], "§8");
    assert_eq!(board.take_unused(100), []);
}

#[test]
fn volumes_that_no_transaction_holds_together_are_all_given_back() {
    let unused = |count: usize, bytes: usize| {
        (0..count).map(move |number| {
            Object::from(volume(&format!("v{number:03}"), |volume| {
                let annotations = volume.spec.as_mut().expect("a spec").annotations.as_mut();
                let labels = &mut annotations.expect("a name").labels;
                labels.insert("x".to_owned(), "y".repeat(bytes));
                volume.publish_status.push(wire::VolumePublishStatus {
                    node_id: "a".to_owned(),
                    state: Publish::Published.into(),
                    ..Default::default()
                });
            }))
        })
    };
    let many = 2 * CHANGES_PER_TRANSACTION + 7;
    for (case, count, bytes, transactions) in
        [("too large", 12, 200_000, 3), ("too many", many, 0, 3), ("none", 0, 0, 0)]
    {
        let view = with(unused(count, bytes).chain([plain("a").into()]));
        run(view, Duration::ZERO, async |store| {
            sleep(Duration::from_secs(5)).await;
            let mut versions = BTreeMap::<_, usize>::new();
            for volume in store.view().volumes() {
                let state = volume.body.publish_status[0].state();
                assert_eq!(state, Publish::PendingNodeUnpublish, "{case}: {}", volume.id);
                *versions.entry(volume.meta.version).or_default() += 1;
            }
            assert_eq!(versions.len(), transactions, "{case}: {versions:?}");
            assert!(versions.into_values().all(|count| count <= CHANGES_PER_TRANSACTION), "{case}");
        });
    }
}

#[test]
fn a_volume_that_went_away_meanwhile_fails_the_decision() {
    let view = with([plain("a").into(), volume("v", |_| {}).into(), mounting("t", &["v"]).into()]);
    let decisions = decide_all(&mut board(view.clone()));
    let mut head = Transaction::begin(&view);
    let mut drained = head.volume(&"v".into()).expect("there").as_ref().clone();
    let spec = Arc::make_mut(&mut drained.body).spec.as_mut().expect("a spec");
    spec.set_availability(VolumeAvailability::Drain);
    head.update(drained).unwrap();
    let failed = write(&mut head, decisions);
    assert_eq!(failed.len(), 1, "§7 commit: each volume must exist and be ACTIVE");
}

#[test]
fn volumes_of_running_tasks_are_reserved_from_the_start() {
    let alone = volume("v", mode(Scope::MultiNode, Sharing::None));
    let objects = [
        plain("a").into(),
        alone.into(),
        using(mounting("x", &["v"]), "v", "a").into(),
        mounting("t", &["v"]).into(),
    ];
    assert_eq!(outcome(objects), [NO_VOLUME], "§1 initial load");
}

#[test]
fn volumes_come_and_change() {
    let view = with([plain("a").into(), mounting("t", &["v"]).into()]);
    let mut board = board(view.clone());
    let all_told = |board: &mut Board| -> Vec<_> { decide_all(board).iter().map(told).collect() };
    assert_eq!(all_told(&mut board), [NO_VOLUME]);
    let unmade = volume("v", |volume| volume.volume_info = None);
    let view = commit(&mut board, &view, |head| head.create(unmade).unwrap());
    assert_eq!(all_told(&mut board), [""; 0], "§1.1 volume update: without a VolumeID");
    let set = |head: &mut Transaction, changed: Volume| {
        let meta = head.volume(&"v".into()).expect("there").meta;
        head.update(Volume { meta, ..changed }).unwrap();
    };
    let paused = volume("v", |volume| {
        volume.spec.as_mut().expect("a spec").set_availability(VolumeAvailability::Pause);
    });
    let view = commit(&mut board, &view, |head| set(head, paused));
    assert_eq!(all_told(&mut board), [""; 0]);
    let view = commit(&mut board, &view, |head| set(head, volume("v", |_| {})));
    let decisions = decide_all(&mut board);
    let row = "§1.1 volume update: added, and what is known of it replaced";
    assert_eq!(decisions.iter().map(told).collect::<Vec<_>>(), ["t@a"], "{row}");
    let view = carry_out(&mut board, &view, decisions);
    let single = mounting("u", &["v"]);
    let view = commit(&mut board, &view, |head| head.create(single).unwrap());
    let decisions = decide_all(&mut board);
    let view = carry_out(&mut board, &view, decisions);
    let once = [("a".to_owned(), Publish::PendingPublish)];
    assert_eq!(publications(&view), once, "§7 commit: no second publish entry for a node");
}
