//! `scheduler-and-allocator` §12: the addresses of nodes.

use super::*;

/// A task with places, on a node.
fn placed(rig: &mut Rig, id: &str, node: &str, networks: &[&str]) {
    rig.create([attached(id, "", networks).into()]);
    rig.change_task(id, |task| {
        task.node_id = node.into();
        task.status.state = TaskState::ASSIGNED;
    });
}

#[test]
fn a_node_has_a_place_per_network_that_its_tasks_use_and_in_ingress_always() {
    let mut rig = Rig::new([
        overlay("a").into(),
        overlay("b").into(),
        ingress("z").into(),
        node("n").into(),
        node("m").into(),
    ]);
    assert_eq!(
        (rig.node_places("m"), rig.node_places("n")),
        (vec!["z 10.0.0.2/24".to_owned()], vec!["z 10.0.0.3/24".to_owned()])
    );
    placed(&mut rig, "t", "n", &["b"]);
    placed(&mut rig, "u", "n", &["b", "a"]);
    assert_eq!(rig.node_places("n"), ["z 10.0.0.3/24", "a 10.0.1.3/24", "b 10.0.2.3/24"]);
    assert_eq!(rig.node_places("m"), ["z 10.0.0.2/24"], "not of its concern");
    let place = &rig.node("n").rest.attachments[1];
    assert_eq!(place.network, Some((&*rig.network("a")).into()), "a full copy");
    rig.observe("t", TaskState::FAILED);
    assert_eq!(rig.node_places("n").len(), 3, "still used by another task");
    rig.observe("u", TaskState::COMPLETE);
    assert_eq!(rig.node_places("n"), ["z 10.0.0.3/24"], "not needed: released");
    rig = rig.restarted();
    assert_eq!(rig.settle(), 0);
}

#[test]
fn networks_of_each_node_give_it_no_place() {
    let mut rig = Rig::new([driven("h", "host").into(), node("n").into()]);
    placed(&mut rig, "t", "n", &["h"]);
    assert_eq!(rig.node_places("n"), [""; 0]);
}

#[test]
fn places_of_a_node_that_is_deleted_are_free() {
    let ingress = network("i", |spec| {
        spec.ingress = true;
        let config = IpamConfig { subnet: "10.9.0.0/30".to_owned(), ..Default::default() };
        spec.ipam = Some(IpamOptions { configs: vec![config], ..Default::default() });
    });
    let mut rig = Rig::new([ingress.into(), node("a").into(), node("b").into()]);
    assert_eq!((rig.node_places("a").len(), rig.node_places("b").len()), (1, 0));
    rig.remove(node("a"));
    assert_eq!(rig.node_places("b"), ["i 10.9.0.2/30"]);
}

#[test]
fn a_full_network_does_not_keep_a_node_from_others() {
    let mut rig = Rig::new([
        ingress("z").into(),
        configured("full", &[("10.9.0.0/30", "", "")]).into(),
        overlay("b").into(),
        node("n").into(),
    ]);
    placed(&mut rig, "t", "n", &["full", "b"]);
    assert_eq!(rig.node_places("n"), ["z 10.0.0.2/24", "b 10.0.1.3/24"]);
    rig.remove(task("t", ""));
    assert_eq!(rig.node_places("n"), ["z 10.0.0.2/24"]);
}

#[test]
fn the_one_place_of_older_managers_is_taken_over() {
    #[track_caller]
    fn check(network: &str, wanted: &[&str]) {
        let mut rig = Rig::new([ingress("z").into()]);
        let mut old = wire::Node::from(&node("n"));
        let place = wire::NetworkAttachment {
            network: Some(wire::Network { id: network.to_owned(), ..Default::default() }),
            addresses: vec!["10.0.0.77/24".to_owned()],
            ..Default::default()
        };
        #[expect(deprecated, reason = "the field of older managers")]
        old.attachment.replace(place);
        rig.create([Node::from(old).into()]);
        assert_eq!(rig.node_places("n"), wanted);
        #[expect(deprecated, reason = "the field of older managers")]
        let left = rig.node("n").rest.attachment.clone();
        assert_eq!(left, None);
    }
    check("z", &["z 10.0.0.77/24"]);
    check("gone", &["z 10.0.0.2/24"]);
}

#[test]
fn an_ingress_network_that_comes_later_reaches_every_node() {
    let mut rig = Rig::new([node("a").into(), node("b").into()]);
    assert_eq!(rig.node_places("a"), [""; 0]);
    rig.create([ingress("z").into()]);
    assert_eq!((rig.node_places("a").len(), rig.node_places("b").len()), (1, 1));
    rig.remove(ingress("z"));
    assert_eq!((rig.node_places("a").len(), rig.node_places("b").len()), (0, 0));
}
