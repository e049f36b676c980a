//! A machine of the cluster.

use std::sync::Arc;

use super::{Meta, name_of};
use crate::{id::NodeId, wire};

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The id; the common name in its certificate.
    pub id: NodeId,
    /// What the store knows of it.
    pub meta: Meta,
    /// What users ask of it.
    pub spec: Arc<wire::NodeSpec>,
    /// What it says of itself.
    pub description: Option<Arc<wire::NodeDescription>>,
    /// Whether it can be reached.
    pub status: wire::NodeStatus,
    /// Its certificate.
    pub certificate: Arc<wire::Certificate>,
    /// What it is now, by its number: a [`wire::NodeRole`], while the spec says what it should
    /// become.
    pub role: i32,
    /// Everything else; what has a field of its own is empty in here.
    pub rest: Arc<wire::Node>,
}

impl Node {
    /// The name that users gave it; mostly empty.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }

    /// The name of its host; empty until it has described itself.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or("", |description| &description.hostname)
    }
}

impl From<wire::Node> for Node {
    fn from(mut rest: wire::Node) -> Self {
        Self {
            id: std::mem::take(&mut rest.id).into(),
            meta: rest.meta.take().into(),
            spec: Arc::new(rest.spec.take().unwrap_or_default()),
            description: rest.description.take().map(Arc::new),
            status: rest.status.take().unwrap_or_default(),
            certificate: Arc::new(rest.certificate.take().unwrap_or_default()),
            role: std::mem::take(&mut rest.role),
            rest: Arc::new(rest),
        }
    }
}

impl From<&Node> for wire::Node {
    fn from(node: &Node) -> Self {
        Self {
            id: node.id.as_str().to_owned(),
            meta: Some(node.meta.into()),
            spec: Some((*node.spec).clone()),
            description: node.description.as_deref().cloned(),
            status: Some(node.status.clone()),
            certificate: Some((*node.certificate).clone()),
            role: node.role,
            ..(*node.rest).clone()
        }
    }
}
