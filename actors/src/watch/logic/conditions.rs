//! The conditions of a watch, each for the kinds that know it; any other holds for everything.

use std::mem;

use protocol::{
    objects::Kind,
    wire::{self, Annotations, SelectByCustom, select_by::By, store_action::Target},
};

use crate::store::Changes;

/// What objects of every kind have.
pub(super) struct Subject<'t> {
    pub(super) kind: Kind,
    pub(super) id: &'t str,
    name: &'t str,
    annotations: Option<&'t Annotations>,
}

impl<'t> Subject<'t> {
    pub(super) fn of(target: &'t Target) -> Self {
        /// The kinds whose annotations are in their spec.
        macro_rules! in_spec {
            ($kind:ident, $object:ident) => {{
                let spec = $object.spec.as_ref();
                Self::new(Kind::$kind, &$object.id, spec.and_then(|spec| spec.annotations.as_ref()))
            }};
        }
        match target {
            Target::Cluster(cluster) => in_spec!(Cluster, cluster),
            Target::Config(config) => in_spec!(Config, config),
            Target::Extension(extension) => {
                Self::new(Kind::Extension, &extension.id, extension.annotations.as_ref())
            }
            Target::Network(network) => in_spec!(Network, network),
            Target::Node(node) => {
                let description = node.description.as_ref();
                let name = description.map_or("", |description| &description.hostname);
                Self { name, ..in_spec!(Node, node) }
            }
            Target::Resource(resource) => {
                Self::new(Kind::Resource, &resource.id, resource.annotations.as_ref())
            }
            Target::Secret(secret) => in_spec!(Secret, secret),
            Target::Service(service) => in_spec!(Service, service),
            Target::Task(task) => Self::new(Kind::Task, &task.id, task.annotations.as_ref()),
            Target::Volume(volume) => in_spec!(Volume, volume),
        }
    }

    fn new(kind: Kind, id: &'t str, annotations: Option<&'t Annotations>) -> Self {
        let name = annotations.map_or("", |annotations| &annotations.name);
        Self { kind, id, name, annotations }
    }

    pub(super) fn is_in(&self, changes: &Changes) -> bool {
        changes.contains(self.kind, self.id)
    }

    fn has_index(&self, custom: &SelectByCustom, fits: impl Fn(&str) -> bool) -> bool {
        let indices = self.annotations.map_or(&[][..], |annotations| &annotations.indices);
        indices.iter().any(|entry| entry.key == custom.index && fits(&entry.val))
    }
}

/// Two conditions of one sort contradict each other, or one is in vain.
pub(super) fn sort(condition: &By) -> mem::Discriminant<By> {
    mem::discriminant(&match condition {
        By::IdPrefix(prefix) => By::Id(prefix.clone()),
        By::NamePrefix(prefix) => By::Name(prefix.clone()),
        By::CustomPrefix(custom) => By::Custom(custom.clone()),
        other @ (By::Id(_)
        | By::Name(_)
        | By::Custom(_)
        | By::ServiceId(_)
        | By::NodeId(_)
        | By::Slot(_)
        | By::DesiredState(_)
        | By::Role(_)
        | By::Membership(_)
        | By::ReferencedNetworkId(_)
        | By::ReferencedSecretId(_)
        | By::Kind(_)
        | By::ReferencedConfigId(_)) => other.clone(),
    })
}

/// Whether a condition holds. Names are compared with their case.
pub(super) fn holds(condition: &By, subject: &Subject<'_>, target: &Target) -> bool {
    match condition {
        By::Id(id) => subject.id == id,
        By::IdPrefix(prefix) => subject.id.starts_with(prefix.as_str()),
        By::Name(name) => subject.name == name,
        By::NamePrefix(prefix) => subject.name.starts_with(prefix.as_str()),
        By::Custom(custom) => subject.has_index(custom, |value| value == custom.value),
        By::CustomPrefix(custom) => {
            subject.has_index(custom, |value| value.starts_with(custom.value.as_str()))
        }
        By::ServiceId(id) => of_task(target, |task| task.service_id == *id),
        By::NodeId(id) => of_task(target, |task| task.node_id == *id),
        By::Slot(slot) => {
            of_task(target, |task| task.service_id == slot.service_id && task.slot == slot.slot)
        }
        By::DesiredState(state) => of_task(target, |task| task.desired_state == *state),
        By::Role(role) => of_node(target, |node| node.role == *role),
        By::Membership(membership) => of_node(target, |node| {
            node.spec.as_ref().map_or(0, |spec| spec.membership) == *membership
        }),
        By::Kind(kind) => of_resource(target, |resource| resource.kind == *kind),
        By::ReferencedNetworkId(_) | By::ReferencedSecretId(_) | By::ReferencedConfigId(_) => true,
    }
}

fn of_task(target: &Target, holds: impl Fn(&wire::Task) -> bool) -> bool {
    let Target::Task(task) = target else { return true };
    holds(task)
}

fn of_node(target: &Target, holds: impl Fn(&wire::Node) -> bool) -> bool {
    let Target::Node(node) = target else { return true };
    holds(node)
}

fn of_resource(target: &Target, holds: impl Fn(&wire::Resource) -> bool) -> bool {
    let Target::Resource(resource) = target else { return true };
    holds(resource)
}
