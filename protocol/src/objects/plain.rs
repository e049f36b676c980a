//! The kinds of which there are few, and of which the store knows little more than the name.

use std::sync::Arc;

use super::{Meta, name_of};
use crate::{
    id::{ConfigId, ExtensionId, NetworkId, ResourceId, SecretId, VolumeId},
    wire,
};

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident, $id:ident, $always:ident, $annotations:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// The id.
            pub id: $id,
            /// What the store knows of it.
            pub meta: Meta,
            /// Everything else; its own id and meta are empty.
            pub body: Arc<wire::$name>,
        }

        impl $name {
            /// The name.
            pub fn name(&self) -> &str {
                let annotations: fn(&wire::$name) -> Option<&wire::Annotations> = $annotations;
                name_of(annotations(&self.body))
            }
        }

        impl From<wire::$name> for $name {
            fn from(mut body: wire::$name) -> Self {
                let id = std::mem::take(&mut body.id).into();
                let meta = body.meta.take().into();
                body.$always.get_or_insert_default();
                Self { id, meta, body: Arc::new(body) }
            }
        }

        impl From<&$name> for wire::$name {
            fn from(object: &$name) -> Self {
                let id = object.id.as_str().to_owned();
                Self { id, meta: Some(object.meta.into()), ..(*object.body).clone() }
            }
        }
    )*};
}

plain! {
    /// A piece of configuration that tasks get as a file.
    Config, ConfigId, spec, |body| body.spec.as_ref()?.annotations.as_ref();
    /// Registers a kind of resource.
    Extension, ExtensionId, annotations, |body| body.annotations.as_ref();
    /// A network that tasks are attached to.
    Network, NetworkId, spec, |body| body.spec.as_ref()?.annotations.as_ref();
    /// An object of a kind that an extension registered.
    Resource, ResourceId, annotations, |body| body.annotations.as_ref();
    /// A piece of data that tasks get as a file and that is never shown.
    Secret, SecretId, spec, |body| body.spec.as_ref()?.annotations.as_ref();
    /// A volume that outlives tasks.
    Volume, VolumeId, spec, |body| body.spec.as_ref()?.annotations.as_ref();
}

/// Marks the ingress network of a cluster that is older than the field for it.
const INTERNAL_LABEL: &str = "com.docker.swarm.internal";

impl wire::Network {
    /// Whether published ports arrive on it.
    pub fn is_ingress(&self) -> bool {
        let Some(spec) = &self.spec else { return false };
        let is_marked = |annotations: &wire::Annotations| {
            annotations.name == "ingress" && annotations.labels.contains_key(INTERNAL_LABEL)
        };
        spec.ingress || spec.annotations.as_ref().is_some_and(is_marked)
    }
}
