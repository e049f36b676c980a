//! Finds objects by what they are like (store-and-raft §2).

use std::{borrow::Cow, collections::BTreeSet, ops::Bound};

use protocol::{
    id::{ConfigId, Id, NetworkId, NodeId, SecretId, ServiceId, VolumeId},
    objects::{Kind, Object, TaskState},
    wire::{ContainerSpec, TaskSpec, task_spec::Runtime},
};

use super::{View, table::has_unique_names};

/// What objects are asked for by. Names are compared in any case, everything else as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// Every object of the kind.
    All,
    /// The beginning of the id.
    IdPrefix(String),
    /// The name.
    Name(String),
    /// The beginning of the name.
    NamePrefix(String),
    /// One of the indices that users gave the object: key and value.
    Custom(String, String),
    /// The same, by the beginning of the value.
    CustomPrefix(String, String),
    /// What a node is now, by the number of the role.
    Role(i32),
    /// Whether a node may take part, by the number of the membership.
    Membership(i32),
    /// What runs a task: `container`, `attachment`, or another kind in lower case.
    Runtime(String),
    /// The service of a task.
    Service(ServiceId),
    /// The node of a task.
    Node(NodeId),
    /// The slot of a task within its service.
    Slot(ServiceId, u64),
    /// How far a task should go.
    DesiredState(TaskState),
    /// How far a task is.
    State(TaskState),
    /// A volume that a task was given.
    VolumeAttachment(VolumeId),
    /// A network that the spec names, not one that was allocated beside it.
    Network(NetworkId),
    /// A secret that the container's spec names.
    Secret(SecretId),
    /// A config that the container's spec names.
    Config(ConfigId),
    /// The group of a volume.
    VolumeGroup(String),
    /// The driver of a volume.
    Driver(String),
    /// The kind of a resource.
    Kind(String),
}

/// Objects of this kind are not asked for by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid find argument type")]
pub struct WrongSelector;

impl View {
    /// The objects of a kind for which one of the selectors holds, each once: first what the first
    /// selector finds, and so on; of one selector by what it compares, then by id.
    pub fn find(&self, kind: Kind, selectors: &[Selector]) -> Result<Vec<Object>, WrongSelector> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for selector in selectors {
            if !selector.suits(kind) {
                return Err(WrongSelector);
            }
            let mut of_one: Vec<_> = self
                .candidates(kind, selector)
                .filter_map(|object| Some((selector.key(&object)?, object)))
                .collect();
            of_one
                .sort_by(|(left, one), (right, other)| (left, one.id()).cmp(&(right, other.id())));
            let of_one = of_one.into_iter().map(|(_, object)| object);
            found.extend(of_one.filter(|object| seen.insert(object.id().clone())));
        }
        Ok(found)
    }

    /// The objects among which all wanted ones are, as few as an index gives.
    fn candidates<'v>(
        &'v self,
        kind: Kind,
        selector: &'v Selector,
    ) -> Box<dyn Iterator<Item = Object> + 'v> {
        match selector {
            Selector::IdPrefix(prefix) => {
                let range = self.all_from(kind, Bound::Included(Id::from(&**prefix)));
                Box::new(range.take_while(|object| object.id().as_str().starts_with(&**prefix)))
            }
            Selector::Name(name) if has_unique_names(kind) && !name.is_empty() => {
                let owners = self.moment.tables.named(kind, name);
                Box::new(owners.filter_map(move |id| self.get(kind, id)))
            }
            Selector::Service(id) => Box::new(self.tasks_of_service(id).cloned().map(Object::Task)),
            Selector::Slot(id, slot) => {
                Box::new(self.tasks_in_slot(id, *slot).cloned().map(Object::Task))
            }
            Selector::Node(id) if !id.is_empty() => {
                Box::new(self.tasks_on_node(id).cloned().map(Object::Task))
            }
            Selector::All
            | Selector::Name(_)
            | Selector::NamePrefix(_)
            | Selector::Custom(..)
            | Selector::CustomPrefix(..)
            | Selector::Role(_)
            | Selector::Membership(_)
            | Selector::Runtime(_)
            | Selector::Node(_)
            | Selector::DesiredState(_)
            | Selector::State(_)
            | Selector::VolumeAttachment(_)
            | Selector::Network(_)
            | Selector::Secret(_)
            | Selector::Config(_)
            | Selector::VolumeGroup(_)
            | Selector::Driver(_)
            | Selector::Kind(_) => Box::new(self.all(kind)),
        }
    }
}

impl Selector {
    /// Whether objects of the kind may be asked for by it.
    fn suits(&self, kind: Kind) -> bool {
        match self {
            Self::All
            | Self::IdPrefix(_)
            | Self::Name(_)
            | Self::Custom(..)
            | Self::CustomPrefix(..) => true,
            Self::NamePrefix(_) => kind != Kind::Extension,
            Self::Role(_) | Self::Membership(_) => kind == Kind::Node,
            Self::Runtime(_) | Self::Network(_) | Self::Secret(_) | Self::Config(_) => {
                matches!(kind, Kind::Service | Kind::Task)
            }
            Self::Service(_)
            | Self::Node(_)
            | Self::Slot(..)
            | Self::DesiredState(_)
            | Self::State(_)
            | Self::VolumeAttachment(_) => kind == Kind::Task,
            Self::VolumeGroup(_) | Self::Driver(_) => kind == Kind::Volume,
            Self::Kind(_) => kind == Kind::Resource,
        }
    }

    /// What the object is ordered by if it is wanted: what the selector has left open.
    fn key(&self, object: &Object) -> Option<String> {
        if let Self::NamePrefix(prefix) = self {
            let name = object.name()?.to_lowercase();
            return name.starts_with(&prefix.to_lowercase()).then_some(name);
        }
        if let Self::CustomPrefix(key, prefix) = self {
            let values = indices(object, key).filter(|value| value.starts_with(&**prefix));
            return values.min().map(ToOwned::to_owned);
        }
        self.holds(object).then(String::new)
    }

    fn holds(&self, object: &Object) -> bool {
        match (self, object) {
            (Self::All, _) => true,
            (Self::IdPrefix(prefix), _) => object.id().as_str().starts_with(&**prefix),
            (Self::Name(name), _) => {
                object.name().is_some_and(|its| its.to_lowercase() == name.to_lowercase())
            }
            (Self::Custom(key, value), _) => indices(object, key).any(|its| its == value),
            (Self::Role(role), Object::Node(node)) => node.role == *role,
            (Self::Membership(wanted), Object::Node(node)) => node.spec.membership == *wanted,
            (Self::Service(id), Object::Task(task)) => task.service_id == *id,
            (Self::Node(id), Object::Task(task)) => task.node_id == *id,
            (Self::Slot(id, slot), Object::Task(task)) => {
                task.service_id == *id && task.slot == *slot
            }
            (Self::DesiredState(state), Object::Task(task)) => task.desired_state == *state,
            (Self::State(state), Object::Task(task)) => task.status.state == *state,
            (Self::VolumeAttachment(id), Object::Task(task)) => {
                task.volumes.iter().any(|volume| volume.id == id.as_str())
            }
            (Self::Runtime(name), _) => {
                task_spec(object).and_then(runtime_of).is_some_and(|runtime| runtime == *name)
            }
            (Self::Network(id), _) => networks(object).any(|target| target == id.as_str()),
            (Self::Secret(id), _) => container(object)
                .is_some_and(|spec| spec.secrets.iter().any(|one| one.secret_id == id.as_str())),
            (Self::Config(id), _) => container(object)
                .is_some_and(|spec| spec.configs.iter().any(|one| one.config_id == id.as_str())),
            (Self::VolumeGroup(group), Object::Volume(volume)) => {
                volume.body.spec.as_ref().is_some_and(|spec| spec.group == *group)
            }
            (Self::Driver(name), Object::Volume(volume)) => {
                let driver = volume.body.spec.as_ref().and_then(|spec| spec.driver.as_ref());
                driver.is_some_and(|driver| driver.name == *name)
            }
            (Self::Kind(kind), Object::Resource(resource)) => resource.body.kind == *kind,
            _ => false,
        }
    }
}

/// The values of the indices with this key.
fn indices<'o>(object: &'o Object, key: &str) -> impl Iterator<Item = &'o str> {
    let indices = object.annotations().map_or(&[][..], |annotations| &annotations.indices);
    indices.iter().filter(move |index| index.key == key).map(|index| &*index.val)
}

fn task_spec(object: &Object) -> Option<&TaskSpec> {
    match object {
        Object::Service(service) => service.task_spec(),
        Object::Task(task) => Some(&task.spec),
        Object::Cluster(_)
        | Object::Config(_)
        | Object::Extension(_)
        | Object::Network(_)
        | Object::Node(_)
        | Object::Resource(_)
        | Object::Secret(_)
        | Object::Volume(_) => None,
    }
}

fn container(object: &Object) -> Option<&ContainerSpec> {
    match task_spec(object)?.runtime.as_ref()? {
        Runtime::Container(container) => Some(container),
        Runtime::Attachment(_) | Runtime::Generic(_) => None,
    }
}

/// The networks that the spec of a service or task names. A service's own list is out of use, and
/// counts only where its tasks have none.
#[expect(deprecated, reason = "services that others have made may still have it")]
fn networks(object: &Object) -> impl Iterator<Item = &str> {
    let of_tasks = task_spec(object).map_or(&[][..], |spec| &spec.networks);
    let networks = if let Object::Service(service) = object
        && of_tasks.is_empty()
    {
        &service.spec.networks
    } else {
        of_tasks
    };
    networks.iter().map(|network| &*network.target)
}

/// What runs such tasks, by its name; nothing says it of some.
pub fn runtime_of(spec: &TaskSpec) -> Option<Cow<'static, str>> {
    Some(match spec.runtime.as_ref()? {
        Runtime::Container(_) => "container".into(),
        Runtime::Attachment(_) => "attachment".into(),
        Runtime::Generic(generic) => generic.kind.to_lowercase().into(),
    })
}
