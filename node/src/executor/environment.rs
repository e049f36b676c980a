//! The variables that a task is started with (executor.md §2).

use std::collections::BTreeMap;

use protocol::wire::{self, generic_resource::Resource};

use crate::shim::TASK_ID_VARIABLE;

/// Where programs are looked for when the task's environment does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the names of variables for generic resources begin with, as engines have it.
const RESOURCE: &str = "DOCKER_RESOURCE";

/// The task's own variables, the last of equal ones, without those that have no value; what it
/// was given of the node's generic resources; and what every task has.
///
/// A process shares the host's name, so its own name is one more variable, as a shell would set
/// it.
pub(super) fn environment(task: &wire::Task, container: &wire::ContainerSpec) -> Vec<String> {
    let named = |entry: &&String| entry.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    let mut environment: Vec<_> = container.env.iter().filter(named).cloned().collect();
    for (name, value) in [("PATH", PATH), ("HOSTNAME", &container.hostname)] {
        let is_set = |entry: &String| entry.split_once('=').is_some_and(|(key, _)| key == name);
        if !value.is_empty() && !environment.iter().any(is_set) {
            environment.push(format!("{name}={value}"));
        }
    }
    environment.extend(generic_resources(&task.assigned_generic_resources));
    environment.push(format!("{TASK_ID_VARIABLE}={}", task.id));
    environment
}

/// One variable per kind: the names of what was given, or how many.
fn generic_resources(resources: &[wire::GenericResource]) -> impl Iterator<Item = String> {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources.iter().filter_map(|resource| resource.resource.as_ref()) {
        let (kind, value) = match resource {
            Resource::NamedResourceSpec(named) => (&named.kind, named.value.clone()),
            Resource::DiscreteResourceSpec(counted) => (&counted.kind, counted.value.to_string()),
        };
        let name = format!("{RESOURCE}_{kind}").to_uppercase();
        kinds.entry(name).or_default().push(value);
    }
    kinds.into_iter().map(|(name, values)| format!("{name}={}", values.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_resources_are_variables() {
        let named = |kind: &str, value: &str| {
            Resource::NamedResourceSpec(wire::NamedGenericResource {
                kind: kind.into(),
                value: value.into(),
            })
        };
        let counted = |kind: &str, value| {
            Resource::DiscreteResourceSpec(wire::DiscreteGenericResource {
                kind: kind.into(),
                value,
            })
        };
        let given = [named("gpu", "b"), counted("ssd-fast", 3), named("gpu", "a")];
        let given = given.map(|resource| wire::GenericResource { resource: Some(resource) });
        let mut task = wire::Task { id: "t".into(), ..Default::default() };
        task.assigned_generic_resources = given.to_vec();
        task.assigned_generic_resources.push(wire::GenericResource::default());
        let env = vec!["DOCKER_RESOURCE_GPU=mine".to_owned()];
        let container = wire::ContainerSpec { env, ..Default::default() };
        let expected = [
            "DOCKER_RESOURCE_GPU=mine",
            &format!("PATH={PATH}"),
            // The last of equal names counts: a task does not take what it was not given.
            "DOCKER_RESOURCE_GPU=b,a",
            "DOCKER_RESOURCE_SSD-FAST=3",
            "SWARM_TASK_ID=t",
        ];
        assert_eq!(environment(&task, &container), expected);
    }
}
