//! The settings of the whole cluster.

use std::sync::Arc;

use super::{Meta, name_of};
use crate::{id::ClusterId, wire};

/// The settings of the whole cluster, its root certificate and its keys. There is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The id; the organisation in certificates.
    pub id: ClusterId,
    /// What the store knows of it.
    pub meta: Meta,
    /// What users ask of it.
    pub spec: Arc<wire::ClusterSpec>,
    /// The root certificate, its key and the join tokens.
    pub root_ca: Arc<wire::RootCa>,
    /// Everything else; what has a field of its own is empty in here.
    pub rest: Arc<wire::Cluster>,
}

impl Cluster {
    /// The name; `default`.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }
}

impl From<wire::Cluster> for Cluster {
    fn from(mut rest: wire::Cluster) -> Self {
        Self {
            id: std::mem::take(&mut rest.id).into(),
            meta: rest.meta.take().into(),
            spec: Arc::new(rest.spec.take().unwrap_or_default()),
            root_ca: Arc::new(rest.root_ca.take().unwrap_or_default()),
            rest: Arc::new(rest),
        }
    }
}

impl From<&Cluster> for wire::Cluster {
    fn from(cluster: &Cluster) -> Self {
        Self {
            id: cluster.id.as_str().to_owned(),
            meta: Some(cluster.meta.into()),
            spec: Some((*cluster.spec).clone()),
            root_ca: Some((*cluster.root_ca).clone()),
            ..(*cluster.rest).clone()
        }
    }
}
