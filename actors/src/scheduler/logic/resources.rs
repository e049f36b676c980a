//! What tasks have taken of a node's processors, memory and generic resources
//! (`scheduler-and-allocator` §2, Part B).
//!
//! What is left is what the node says now minus what is taken, so a node that describes itself
//! anew needs no repair: what it does not offer any more is not there to be given back.

use std::collections::BTreeMap;

use protocol::wire::{
    self, DiscreteGenericResource, GenericResource, NamedGenericResource,
    generic_resource::Resource,
};

use super::kind::{Asks, Wanted};

/// What the tasks on one node have taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    nano_cpus: i64,
    memory_bytes: i64,
    counted: BTreeMap<String, i64>,
    /// By kind and name; more than one holder only if the node was described wrongly meanwhile.
    named: BTreeMap<(String, String), u32>,
}

/// What a node offers of one generic resource: a kind is of the form in which it comes first.
enum Offer<'d> {
    Counted(i64),
    Named(Vec<&'d str>),
}

impl Taken {
    pub(crate) fn add(&mut self, nano_cpus: i64, memory_bytes: i64, assigned: &[GenericResource]) {
        self.nano_cpus = self.nano_cpus.saturating_add(nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_add(memory_bytes);
        for resource in assigned.iter().filter_map(|assigned| assigned.resource.clone()) {
            match resource {
                Resource::DiscreteResourceSpec(DiscreteGenericResource { kind, value }) => {
                    *self.counted.entry(kind).or_default() += value;
                }
                Resource::NamedResourceSpec(NamedGenericResource { kind, value }) => {
                    *self.named.entry((kind, value)).or_default() += 1;
                }
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        nano_cpus: i64,
        memory_bytes: i64,
        assigned: &[GenericResource],
    ) {
        self.nano_cpus = self.nano_cpus.saturating_sub(nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(memory_bytes);
        for resource in assigned.iter().filter_map(|assigned| assigned.resource.clone()) {
            match resource {
                Resource::DiscreteResourceSpec(DiscreteGenericResource { kind, value }) => {
                    let taken = self.counted.entry(kind.clone()).or_default();
                    *taken -= value;
                    if *taken == 0 {
                        self.counted.remove(&kind);
                    }
                }
                Resource::NamedResourceSpec(NamedGenericResource { kind, value }) => {
                    let key = (kind, value);
                    let holders = self.named.entry(key.clone()).or_default();
                    *holders = holders.saturating_sub(1);
                    if *holders == 0 {
                        self.named.remove(&key);
                    }
                }
            }
        }
    }

    /// Processor time that a node has left, in billionths.
    pub(crate) fn free_nano_cpus(&self, offered: Option<&wire::Resources>) -> i64 {
        offered.map_or(0, |offered| offered.nano_cpus).saturating_sub(self.nano_cpus)
    }

    /// Memory that a node has left.
    pub(crate) fn free_memory_bytes(&self, offered: Option<&wire::Resources>) -> i64 {
        offered.map_or(0, |offered| offered.memory_bytes).saturating_sub(self.memory_bytes)
    }

    /// How many of a generic resource a node has left.
    pub(crate) fn free_of(&self, offered: Option<&wire::Resources>, kind: &str) -> i64 {
        match self.offer(offered, kind) {
            Some(Offer::Counted(count)) => count.max(0),
            Some(Offer::Named(names)) => names.len() as i64,
            None => 0,
        }
    }

    /// Whether a node has enough left. What is not asked for is not looked at: a node may have
    /// less than nothing of it.
    pub(crate) fn leaves_enough(&self, offered: Option<&wire::Resources>, asks: &Asks) -> bool {
        let enough_of = |wanted: &Wanted| {
            wanted.count.is_some_and(|count| count <= self.free_of(offered, &wanted.kind))
        };
        (asks.nano_cpus == 0 || asks.nano_cpus <= self.free_nano_cpus(offered))
            && (asks.memory_bytes == 0 || asks.memory_bytes <= self.free_memory_bytes(offered))
            && asks.generic.iter().all(enough_of)
    }

    /// Chooses what meets a reservation: by name where the node tells them apart, in its order.
    pub(crate) fn choose(
        &self,
        offered: Option<&wire::Resources>,
        generic: &[Wanted],
    ) -> Vec<GenericResource> {
        let mut chosen = Vec::with_capacity(generic.len());
        for Wanted { kind, count } in generic {
            let (kind, count) = (kind.clone(), count.unwrap_or_default());
            match self.offer(offered, &kind) {
                Some(Offer::Named(names)) => {
                    let names = names.into_iter().take(usize::try_from(count).unwrap_or_default());
                    chosen.extend(names.map(|name| {
                        let named =
                            NamedGenericResource { kind: kind.clone(), value: name.to_owned() };
                        GenericResource { resource: Some(Resource::NamedResourceSpec(named)) }
                    }));
                }
                Some(Offer::Counted(_)) | None => {
                    let counted = DiscreteGenericResource { kind, value: count };
                    let resource = Some(Resource::DiscreteResourceSpec(counted));
                    chosen.push(GenericResource { resource });
                }
            }
        }
        chosen
    }

    fn offer<'d>(&self, offered: Option<&'d wire::Resources>, of: &str) -> Option<Offer<'d>> {
        let mut names: Option<Vec<_>> = None;
        let generic = offered.iter().flat_map(|offered| &offered.generic);
        for resource in generic.filter_map(|offered| offered.resource.as_ref()) {
            match resource {
                Resource::DiscreteResourceSpec(counted) if counted.kind == of => {
                    if names.is_none() {
                        let taken = self.counted.get(of).copied().unwrap_or_default();
                        return Some(Offer::Counted(counted.value.saturating_sub(taken)));
                    }
                }
                Resource::NamedResourceSpec(named) if named.kind == of => {
                    let key = (named.kind.clone(), named.value.clone());
                    let names = names.get_or_insert_default();
                    if !self.named.contains_key(&key) {
                        names.push(named.value.as_str());
                    }
                }
                Resource::DiscreteResourceSpec(_) | Resource::NamedResourceSpec(_) => {}
            }
        }
        names.map(Offer::Named)
    }
}
