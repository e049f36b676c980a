//! The networks of a view, to be found by whoever is attached to them.

use std::sync::Arc;

use protocol::{
    id::NetworkId,
    objects::{Network, Service, Task},
    wire::{NetworkAttachmentConfig, ServiceSpec},
};

use super::{lack::Lack, network::is_allocated};
use crate::store::View;

/// The networks of a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Networks<'v> {
    view: &'v View,
    ingress: Option<&'v NetworkId>,
}

/// The ingress network of a view: of several the one that is allocated, else the first. Looks at
/// all networks.
pub(crate) fn ingress_of(view: &View) -> Option<NetworkId> {
    let all = view.networks().filter(|network| network.body.is_ingress());
    let first = all.min_by_key(|network| (!is_allocated(&network.body), &network.id));
    first.map(|network| network.id.clone())
}

impl<'v> Networks<'v> {
    /// Those of a view whose ingress network is known.
    pub(crate) fn new(view: &'v View, ingress: Option<&'v NetworkId>) -> Self {
        Self { view, ingress }
    }

    pub(crate) fn get(&self, id: &NetworkId) -> Option<&'v Arc<Network>> {
        self.view.network(id)
    }

    /// A network that is there and allocated.
    pub(crate) fn ready(&self, id: &NetworkId) -> Result<&'v Arc<Network>, Lack> {
        let network = self.get(id).ok_or_else(|| Lack::Network(id.clone()))?;
        match is_allocated(&network.body) {
            true => Ok(network),
            false => Err(Lack::Unallocated(id.clone())),
        }
    }

    /// The id of the network that published ports arrive on.
    pub(crate) fn ingress(&self) -> Result<&'v NetworkId, Lack> {
        self.ingress.filter(|id| self.get(id).is_some()).ok_or(Lack::Ingress)
    }
}

/// The networks that a service asks for by name.
pub(crate) fn of_service(spec: &ServiceSpec) -> &[NetworkAttachmentConfig] {
    let of_tasks = spec.task.as_ref().map_or(&[][..], |task| &task.networks);
    #[expect(deprecated, reason = "older clients ask for the networks of a service in this field")]
    let of_service = &spec.networks;
    if of_tasks.is_empty() { of_service } else { of_tasks }
}

/// The networks that a task asks for by name.
pub(crate) fn of_task<'t>(
    task: &'t Task,
    service: Option<&'t Service>,
) -> &'t [NetworkAttachmentConfig] {
    let networks = &task.spec.networks;
    match service {
        Some(service) if networks.is_empty() => {
            #[expect(deprecated, reason = "the same field of older clients")]
            let of_service = &service.spec.networks;
            of_service
        }
        Some(_) | None => networks,
    }
}
