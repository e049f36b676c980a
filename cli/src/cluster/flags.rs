//! The flags of `cluster update`, and what they change in a spec.

use clap::Args;
use prost_types::Duration;
use protocol::wire::{ClusterSpec, Driver, ExternalCa, KeyRotation, UpdateClusterRequest, Version};

use crate::{
    error::Error,
    value::{self, Authority, List},
};

/// `cluster update`.
#[derive(Args)]
pub(crate) struct Update {
    /// Cluster ID or name
    cluster: String,
    /// Lock managers: they need a key after each start
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    autolock: Option<bool>,
    /// How long certificates of nodes are valid
    #[arg(long, allow_hyphen_values = true, value_parser = value::duration)]
    certexpiry: Option<Duration>,
    /// Certificate authorities outside the cluster (protocol=cfssl,url=...)
    #[arg(long, allow_hyphen_values = true)]
    external_ca: Option<Vec<Authority>>,
    /// How often nodes are to report
    #[arg(long, allow_hyphen_values = true, value_parser = value::duration)]
    heartbeatperiod: Option<Duration>,
    /// Log driver of tasks that name none
    #[arg(long, allow_hyphen_values = true)]
    log_driver: Option<String>,
    /// Log driver options (key=value); only read beside --log-driver
    #[arg(long, allow_hyphen_values = true)]
    log_opt: Option<Vec<List>>,
    /// Take the nodes for lost that fell silent together, and replace their tasks
    #[arg(long)]
    replace_silent: bool,
    /// Make the join token of workers or managers anew
    #[arg(long, allow_hyphen_values = true)]
    rotate_join_token: Option<String>,
    /// Make the unlock key anew
    #[arg(long)]
    rotate_unlock_key: bool,
    /// How many ended tasks of a slot are remembered
    #[arg(long, allow_hyphen_values = true)]
    taskhistory: Option<i64>,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(super) rotation: KeyRotation,
    autolock: Option<bool>,
    certificate_expiry: Option<Duration>,
    external: Option<Vec<ExternalCa>>,
    heartbeat_period: Option<Duration>,
    log_driver: Option<Driver>,
    task_history: Option<i64>,
    pub(super) replace_silent: bool,
}

impl Update {
    /// The cluster, and what changes in it.
    pub(super) fn changes(self) -> Result<(String, Changes), Error> {
        let role = self.rotate_join_token.as_deref().map(str::to_lowercase);
        let is = |wanted: &str| role.as_deref() == Some(wanted);
        if role.is_some() && !is("worker") && !is("manager") {
            return Err(Error::usage(
                "--rotate-join-token flag must be followed by 'worker' or 'manager'",
            ));
        }
        let rotation = KeyRotation {
            worker_join_token: is("worker"),
            manager_join_token: is("manager"),
            manager_unlock_key: self.rotate_unlock_key,
        };
        let options = List::join(self.log_opt.as_deref()).unwrap_or_default();
        let options = value::options(&options);
        let external = self.external_ca.map(|all| all.into_iter().map(|one| one.0).collect());
        let changes = Changes {
            rotation,
            autolock: self.autolock,
            certificate_expiry: self.certexpiry,
            external,
            heartbeat_period: self.heartbeatperiod,
            log_driver: self.log_driver.map(|name| Driver { name, options }),
            task_history: self.taskhistory,
            replace_silent: self.replace_silent,
        };
        Ok((self.cluster, changes))
    }
}

impl Changes {
    /// What is asked of the cluster; nothing, if all that is wanted is an end of doubts.
    pub(super) fn request(
        &self,
        id: &str,
        version: Option<Version>,
        mut spec: ClusterSpec,
    ) -> Option<UpdateClusterRequest> {
        if *self == (Self { replace_silent: true, ..Self::default() }) {
            return None;
        }
        self.apply(&mut spec);
        Some(UpdateClusterRequest {
            cluster_id: id.to_owned(),
            cluster_version: version,
            spec: Some(spec),
            rotation: Some(self.rotation),
        })
    }

    /// Changes a spec; what no flag names stays as it is.
    pub(super) fn apply(&self, spec: &mut ClusterSpec) {
        if let Some(limit) = self.task_history {
            spec.orchestration.get_or_insert_default().task_history_retention_limit = limit;
        }
        if let Some(expiry) = self.certificate_expiry {
            spec.ca_config.get_or_insert_default().node_cert_expiry = Some(expiry);
        }
        if let Some(external) = &self.external {
            spec.ca_config.get_or_insert_default().external_cas.clone_from(external);
        }
        if let Some(period) = self.heartbeat_period {
            spec.dispatcher.get_or_insert_default().heartbeat_period = Some(period);
        }
        if let Some(driver) = &self.log_driver {
            spec.task_defaults.get_or_insert_default().log_driver = Some(driver.clone());
        }
        if let Some(lock) = self.autolock {
            spec.encryption_config.get_or_insert_default().auto_lock_managers = lock;
        }
    }
}
