//! What a node has left of what can be reserved (`scheduler-and-allocator` §2, Part B).

use std::collections::{BTreeMap, BTreeSet};

use protocol::wire::{
    self, DiscreteGenericResource, GenericResource, NamedGenericResource,
    generic_resource::Resource,
};

/// Processor time, memory, and whatever else a node counts. May fall below zero, when a node has
/// less than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) nano_cpus: i64,
    pub(crate) memory_bytes: i64,
    counted: BTreeMap<String, i64>,
    /// Those that can be told apart, by kind.
    named: BTreeMap<String, BTreeSet<String>>,
}

impl Resources {
    /// What a node says that it has.
    pub(crate) fn of(described: Option<&wire::Resources>) -> Self {
        let mut resources = Self::default();
        if let Some(described) = described {
            resources.nano_cpus = described.nano_cpus;
            resources.memory_bytes = described.memory_bytes;
            resources.give(&described.generic);
        }
        resources
    }

    /// Takes what a task has reserved, with the very resources that it was assigned.
    pub(crate) fn reserve(&mut self, reserved: &wire::Resources, assigned: &[GenericResource]) {
        self.nano_cpus = self.nano_cpus.saturating_sub(reserved.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(reserved.memory_bytes);
        for resource in assigned.iter().filter_map(|assigned| assigned.resource.as_ref()) {
            match resource {
                Resource::DiscreteResourceSpec(DiscreteGenericResource { kind, value }) => {
                    *self.counted.entry(kind.clone()).or_default() -= value;
                }
                Resource::NamedResourceSpec(NamedGenericResource { kind, value }) => {
                    if let Some(free) = self.named.get_mut(kind) {
                        free.remove(value);
                    }
                }
            }
        }
    }

    /// Gives back what a task had reserved. The node may have changed meanwhile: what it does not
    /// count is not given back.
    pub(crate) fn release(&mut self, reserved: &wire::Resources, assigned: &[GenericResource]) {
        self.nano_cpus = self.nano_cpus.saturating_add(reserved.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_add(reserved.memory_bytes);
        self.give(assigned);
    }

    fn give(&mut self, resources: &[GenericResource]) {
        for resource in resources.iter().filter_map(|given| given.resource.clone()) {
            match resource {
                Resource::DiscreteResourceSpec(DiscreteGenericResource { kind, value }) => {
                    *self.counted.entry(kind).or_default() += value;
                }
                Resource::NamedResourceSpec(NamedGenericResource { kind, value }) => {
                    self.named.entry(kind).or_default().insert(value);
                }
            }
        }
    }

    /// Whether a reservation can be met.
    pub(crate) fn can_meet(&self, wanted: &wire::Resources) -> bool {
        wanted.nano_cpus <= self.nano_cpus
            && wanted.memory_bytes <= self.memory_bytes
            && wanted.generic.iter().all(|wanted| self.can_claim(wanted))
    }

    fn can_claim(&self, wanted: &GenericResource) -> bool {
        let Some(Resource::DiscreteResourceSpec(DiscreteGenericResource { kind, value })) =
            &wanted.resource
        else {
            // One by its name cannot be asked for.
            return false;
        };
        let named = self.named.get(kind).map_or(0, |free| free.len() as i64);
        *value <= self.counted.get(kind).copied().unwrap_or_default().max(named)
    }

    /// Chooses what meets a reservation: by name where the node tells them apart, lowest first.
    pub(crate) fn choose(&self, wanted: &[GenericResource]) -> Vec<GenericResource> {
        let wanted = wanted.iter().filter_map(|wanted| match &wanted.resource {
            Some(Resource::DiscreteResourceSpec(counted)) => Some(counted),
            Some(Resource::NamedResourceSpec(_)) | None => None,
        });
        wanted.flat_map(|wanted| self.choose_one(wanted)).collect()
    }

    fn choose_one(&self, wanted: &DiscreteGenericResource) -> Vec<GenericResource> {
        let DiscreteGenericResource { kind, value } = wanted;
        let count = usize::try_from(*value).unwrap_or_default();
        match self.named.get(kind) {
            Some(free) => free
                .iter()
                .take(count)
                .map(|value| {
                    let named = NamedGenericResource { kind: kind.clone(), value: value.clone() };
                    GenericResource { resource: Some(Resource::NamedResourceSpec(named)) }
                })
                .collect(),
            None => {
                let counted = Resource::DiscreteResourceSpec(wanted.clone());
                vec![GenericResource { resource: Some(counted) }]
            }
        }
    }
}
