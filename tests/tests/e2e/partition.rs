//! A leader that is cut off from the others while everybody writes, in networks of their own.

use tokio::runtime::Builder;
use tonic::Code;

use crate::{
    daemon::{Place, connect, eventually},
    network::Network,
    swarm::Swarm,
    writer::{Writer, create, services},
};

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_follows_once_it_is_back() {
    let Some(network) = Network::of(3) else { return };
    let places = (0..3).map(|machine| Place {
        address: format!("{}:0", network.host(machine)),
        network: Some(network.file(machine)),
        metrics: true,
        ..Place::here(&format!("m{machine}"))
    });
    let swarm = Swarm::on(places.collect());
    let cut_off = swarm.await_reachable(3);
    let everybody = Writer::start("e", swarm.running());
    everybody.await_more(20);
    network.unplug(cut_off);
    let majority = Writer::start(
        "m",
        swarm
            .running()
            .enumerate()
            .filter_map(|(number, manager)| (number != cut_off).then_some(manager)),
    );
    let lonely = &swarm.managers[cut_off];
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut number = 0;
    // At first it does not know that nobody hears it.
    let refusal = eventually("a manager that says that it cannot write", || {
        number += 1;
        let name = format!("lonely{number}");
        let answer = runtime.block_on(async { create(connect(lonely.socket()), &name).await });
        let status = answer.expect_err("nobody has agreed");
        if status.code() == Code::Unavailable {
            return Ok(status);
        }
        assert_eq!(status.code(), Code::Unknown, "{status}");
        Err(status.to_string())
    });
    assert!(refusal.message().contains("does not have a leader"), "{refusal}");
    let read = lonely.refused("service ls");
    assert!(read.contains("does not have a leader"), "what it shows may be old: {read}");
    majority.await_more(20);
    let told_to_majority = majority.end();
    network.plug(cut_off);
    swarm.await_reachable(3);
    everybody.await_more(20);
    let told = everybody.end();
    told.check_all(&swarm);
    told_to_majority.check_all(&swarm);
    assert!(told_to_majority.acknowledged.len() >= 20);
    let shown = services(&swarm.managers[0]).expect("it answers");
    assert!(!shown.contains(&format!("lonely{number}")), "the last was said not to be written");
}
