//! The ten kinds of objects as the store keeps them in memory: ids inline, large bodies shared.
//!
//! Both conversions are total. What the original always writes (specs, statuses, annotations) is
//! always present here; everything else comes back as it went in, unknown enum numbers included.

mod cluster;
mod encode;
mod node;
mod plain;
mod service;
mod shared;
mod task;

#[cfg(test)]
pub mod strategies;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use prost_types::Timestamp;

use crate::{id::Id, wire};

pub use cluster::Cluster;
pub use encode::nested;
pub use node::Node;
pub use plain::{Config, Extension, Network, Resource, Secret, Volume};
pub use service::Service;
pub use shared::{List, SharedNodeId};
pub use task::{Interner, Task, TaskState, TaskStatus};

/// What the store knows of every object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The index of the log entry that last wrote the object; an update must name it.
    pub version: u64,
    /// When the object was created.
    pub created_at: Option<Timestamp>,
    /// When it was last written.
    pub updated_at: Option<Timestamp>,
}

impl From<Option<wire::Meta>> for Meta {
    fn from(meta: Option<wire::Meta>) -> Self {
        let wire::Meta { version, created_at, updated_at } = meta.unwrap_or_default();
        Self { version: version.unwrap_or_default().index, created_at, updated_at }
    }
}

impl From<Meta> for wire::Meta {
    fn from(Meta { version, created_at, updated_at }: Meta) -> Self {
        Self { version: Some(wire::Version { index: version }), created_at, updated_at }
    }
}

/// The kinds, in the order in which a snapshot holds them: extensions before the resources that
/// need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Cluster,
    Config,
    Extension,
    Network,
    Node,
    Resource,
    Secret,
    Service,
    Task,
    Volume,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 10] = [
        Self::Cluster,
        Self::Config,
        Self::Extension,
        Self::Network,
        Self::Node,
        Self::Resource,
        Self::Secret,
        Self::Service,
        Self::Task,
        Self::Volume,
    ];

    /// The name that users know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Config => "config",
            Self::Extension => "extension",
            Self::Network => "network",
            Self::Node => "node",
            Self::Resource => "resource",
            Self::Secret => "secret",
            Self::Service => "service",
            Self::Task => "task",
            Self::Volume => "volume",
        }
    }
}

macro_rules! object {
    ($($kind:ident),* $(,)?) => {
        /// An object of any kind.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Object {
            $($kind(Arc<$kind>),)*
        }

        impl Object {
            /// Which kind it is of.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// Its id.
            pub fn id(&self) -> &Id {
                match self {
                    $(Self::$kind(object) => object.id.as_id(),)*
                }
            }

            /// What the store knows of it.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(Self::$kind(object) => &object.meta,)*
                }
            }

            /// The same object with another meta.
            pub fn with_meta(mut self, meta: Meta) -> Self {
                match &mut self {
                    $(Self::$kind(object) => Arc::make_mut(object).meta = meta,)*
                }
                self
            }

            /// The change to the store that does `action` to it.
            pub fn to_action(&self, action: wire::StoreActionKind) -> wire::StoreAction {
                use wire::store_action::Target;
                let target = match self {
                    $(Self::$kind(object) => Target::$kind((&**object).into()),)*
                };
                wire::StoreAction { action: action.into(), target: Some(target) }
            }

            /// What a change to the store is about.
            pub fn from_target(target: wire::store_action::Target) -> Self {
                use wire::store_action::Target;
                match target {
                    $(Target::$kind(object) => Self::$kind(Arc::new(object.into())),)*
                }
            }
        }

        $(
            impl From<$kind> for Object {
                fn from(object: $kind) -> Self {
                    Self::$kind(Arc::new(object))
                }
            }

            impl From<Arc<$kind>> for Object {
                fn from(object: Arc<$kind>) -> Self {
                    Self::$kind(object)
                }
            }
        )*
    };
}

object! {
    Cluster,
    Config,
    Extension,
    Network,
    Node,
    Resource,
    Secret,
    Service,
    Task,
    Volume,
}

impl Object {
    /// The name that it is found by: a node's is its host's, and is unknown until the node has
    /// described itself.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        let name = match self {
            Self::Cluster(object) => object.name(),
            Self::Config(object) => object.name(),
            Self::Extension(object) => object.name(),
            Self::Network(object) => object.name(),
            Self::Node(object) => &object.description.as_ref()?.hostname,
            Self::Resource(object) => object.name(),
            Self::Secret(object) => object.name(),
            Self::Service(object) => object.name(),
            Self::Task(object) => return Some(object.name()),
            Self::Volume(object) => object.name(),
        };
        Some(Cow::Borrowed(name))
    }

    /// What users say of it, if they do.
    pub fn annotations(&self) -> Option<&wire::Annotations> {
        match self {
            Self::Cluster(object) => object.spec.annotations.as_ref(),
            Self::Config(object) => object.body.spec.as_ref()?.annotations.as_ref(),
            Self::Extension(object) => object.body.annotations.as_ref(),
            Self::Network(object) => object.body.spec.as_ref()?.annotations.as_ref(),
            Self::Node(object) => object.spec.annotations.as_ref(),
            Self::Resource(object) => object.body.annotations.as_ref(),
            Self::Secret(object) => object.body.spec.as_ref()?.annotations.as_ref(),
            Self::Service(object) => object.spec.annotations.as_ref(),
            Self::Task(object) => object.annotations.as_deref(),
            Self::Volume(object) => object.body.spec.as_ref()?.annotations.as_ref(),
        }
    }
}

/// The name of a spec's annotations.
fn name_of(annotations: Option<&wire::Annotations>) -> &str {
    annotations.map_or("", |annotations| &annotations.name)
}
