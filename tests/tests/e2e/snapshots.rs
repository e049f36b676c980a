//! Managers that join a cluster whose log does not reach back to its beginning any more.

use std::fs;

use protocol::wire::{
    ListClustersRequest, RaftConfig, UpdateClusterRequest, control_client::ControlClient,
};
use tokio::runtime::Builder;

use crate::{
    daemon::{Daemon, Place, connect, eventually},
    swarm::{self, Swarm},
    writer::Writer,
};

/// After how many entries a manager writes a snapshot, and how many it keeps before one.
const INTERVAL: u64 = 20;
const KEPT: u64 = 5;

/// Lets every manager write a snapshot after a few entries.
fn shorten_logs(manager: &Daemon) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Somebody else may write the cluster at the same moment.
    eventually("other settings of raft", || {
        let set = runtime.block_on(set_intervals(manager));
        set.map_err(|status| status.to_string())
    });
}

async fn set_intervals(manager: &Daemon) -> Result<(), tonic::Status> {
    let mut control = ControlClient::new(connect(manager.socket()));
    let listed = control.list_clusters(ListClustersRequest::default()).await?.into_inner();
    let cluster = listed.clusters.into_iter().next().expect("there is one");
    let mut spec = cluster.spec.unwrap_or_default();
    let raft = spec.raft.unwrap_or_default();
    spec.raft = Some(RaftConfig {
        snapshot_interval: INTERVAL,
        log_entries_for_slow_followers: KEPT,
        ..raft
    });
    let request = UpdateClusterRequest {
        cluster_id: cluster.id,
        cluster_version: cluster.meta.and_then(|meta| meta.version),
        spec: Some(spec),
        ..UpdateClusterRequest::default()
    };
    control.update_cluster(request).await.map(drop)
}

/// The entry up to which a manager's newest snapshot goes; 0 where there is none.
fn snapshot_index(manager: &Daemon) -> u64 {
    let files = fs::read_dir(manager.state().join("raft")).into_iter().flatten();
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let index = |name: String| u64::from_str_radix(name.strip_suffix(".snapshot")?, 16).ok();
    names.filter_map(index).max().unwrap_or(0)
}

#[test]
fn a_manager_that_joins_gets_a_snapshot_and_carries_the_cluster() {
    let mut swarm = Swarm::of(2);
    shorten_logs(&swarm.managers[0]);
    let writer = Writer::start("s", swarm.running());
    writer.await_more(120);
    // Each of them may lead, and has forgotten how it all began.
    for manager in &swarm.managers {
        eventually("a log that begins with a snapshot", || {
            let index = snapshot_index(manager);
            if index > 100 { Ok(()) } else { Err(format!("{index}\n{}", manager.log())) }
        });
    }
    let newcomer = swarm.add(Place { metrics: true, ..Place::here("m3") });
    swarm.await_reachable(3);
    writer.await_more(20);
    let told = writer.end();
    told.check_all(&swarm);

    // Two of three have to agree, and one of them is the newcomer.
    swarm.managers[0].kill();
    swarm.await_reachable(2);
    let writer = Writer::start("n", swarm.running());
    writer.await_more(20);
    let told_without = writer.end();
    // It comes back from its own disk, too.
    swarm.managers[newcomer].kill();
    swarm.managers[newcomer].spawn();
    swarm.await_reachable(2);
    swarm.managers[0].launch();
    swarm.await_reachable(3);
    told.check_all(&swarm);
    told_without.check_all(&swarm);
    assert!(swarm::services_here(&swarm.managers[newcomer]) >= 160);
}
