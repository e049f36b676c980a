//! What a service spec means where it says nothing (validation.md §4, `GetService`).

use prost_types::Duration;
use protocol::wire::{
    ContainerSpec, Placement, ResourceRequirements, RestartPolicy, ServiceSpec, TaskSpec,
    UpdateConfig,
    container_spec::{DnsConfig, PullOptions},
    restart_policy::RestartCondition,
    task_spec::Runtime,
    update_config::{FailureAction, UpdateOrder},
};

const STOP_GRACE_PERIOD: Duration = seconds(10);
const RESTART_DELAY: Duration = seconds(5);
const MONITOR: Duration = seconds(5);

const fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// Returns the spec with every unset part filled in, for answers that are to show it.
pub fn filled(mut spec: ServiceSpec) -> ServiceSpec {
    fill_task(spec.task.get_or_insert_default());
    spec.update = Some(filled_update(spec.update));
    spec.rollback = Some(filled_update(spec.rollback));
    spec
}

fn fill_task(task: &mut TaskSpec) {
    if let Some(Runtime::Container(container)) = &mut task.runtime {
        fill_container(container);
    }
    task.resources.get_or_insert_with(ResourceRequirements::default);
    let restart = task.restart.get_or_insert(RestartPolicy {
        condition: RestartCondition::Any.into(),
        ..RestartPolicy::default()
    });
    restart.delay.get_or_insert(RESTART_DELAY);
    task.placement.get_or_insert_with(Placement::default);
}

fn fill_container(container: &mut ContainerSpec) {
    container.stop_grace_period.get_or_insert(STOP_GRACE_PERIOD);
    container.pull_options.get_or_insert_with(PullOptions::default);
    container.dns_config.get_or_insert_with(DnsConfig::default);
}

fn filled_update(update: Option<UpdateConfig>) -> UpdateConfig {
    let mut update = update.unwrap_or(UpdateConfig {
        failure_action: FailureAction::Pause.into(),
        order: UpdateOrder::StopFirst.into(),
        parallelism: 1,
        ..UpdateConfig::default()
    });
    update.monitor.get_or_insert(MONITOR);
    update
}
