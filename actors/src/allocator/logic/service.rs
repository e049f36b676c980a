//! What a service is given: ports, and a virtual address in each of its networks
//! (`scheduler-and-allocator` §13).

use std::sync::Arc;

use protocol::{
    id::NetworkId,
    objects::Service,
    wire::{Endpoint, PortConfig, endpoint::VirtualIp, endpoint_spec::ResolutionMode},
};

use super::{
    holdings::{is_ingress, parsed},
    lack::Lack,
    network::{is_local, next_address},
    networks::{Networks, of_service},
    pools::Draft,
    ports::{are_published, publish},
};

fn wished_ports(service: &Service) -> &[PortConfig] {
    service.spec.endpoint.as_ref().map_or(&[], |endpoint| &endpoint.ports)
}

/// Whether tasks of a service need a place in the ingress network.
pub(crate) fn needs_ingress(service: &Service) -> bool {
    wished_ports(service).iter().any(is_ingress)
}

/// The networks in which a service needs a virtual address: ingress first, then those of its spec.
pub(crate) fn wished_networks(
    service: &Service,
    networks: Networks<'_>,
) -> Result<Vec<NetworkId>, Lack> {
    let mode = service.spec.endpoint.as_ref().map_or(0, |endpoint| endpoint.mode);
    if mode == i32::from(ResolutionMode::Dnsrr) {
        return Ok(Vec::new());
    }
    let ingress = needs_ingress(service).then(|| networks.ingress().cloned()).transpose()?;
    let named = of_service(&service.spec).iter().map(|network| network.target.as_str().into());
    let mut wished: Vec<NetworkId> = Vec::new();
    for network in ingress.into_iter().chain(named) {
        if !wished.contains(&network) {
            wished.push(network);
        }
    }
    Ok(wished)
}

/// Whether a virtual address is one: in a network of each node's own there is none.
fn is_had(address: &VirtualIp, networks: Networks<'_>) -> bool {
    let network = networks.get(&address.network_id.as_str().into());
    network.is_some_and(|network| is_local(&network.body) || parsed(&address.addr).is_some())
}

/// Whether a service has all that its spec asks for, and nothing else.
pub(crate) fn is_allocated(service: &Service, networks: Networks<'_>) -> bool {
    let Ok(wished) = wished_networks(service, networks) else { return false };
    let ports = wished_ports(service);
    let Some(endpoint) = &service.endpoint else { return wished.is_empty() && ports.is_empty() };
    let had = &endpoint.virtual_ips;
    endpoint.spec == service.spec.endpoint
        && are_published(ports, &endpoint.ports)
        && had.len() == wished.len()
        && had.iter().all(|address| {
            wished.iter().any(|network| network.as_str() == address.network_id)
                && is_had(address, networks)
        })
        && (endpoint.spec.is_some() || !had.is_empty())
}

/// The service with all that its spec asks for. What it has and still wants it keeps.
pub(crate) fn allocated(
    service: &Service,
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
) -> Result<Service, Lack> {
    let wished = wished_networks(service, networks)?;
    let current = service.endpoint.as_deref();
    let ports = current.map_or(&[][..], |endpoint| &endpoint.ports);
    let ports = publish(wished_ports(service), ports, draft)?;
    let had = current.map_or(&[][..], |endpoint| &endpoint.virtual_ips);
    let virtual_ips = addresses(&wished, had, networks, draft)?;
    let spec = service.spec.endpoint.clone();
    let is_nothing =
        ports.is_empty() && virtual_ips.is_empty() && (current.is_none() || spec.is_none());
    let endpoint = (!is_nothing).then(|| Arc::new(Endpoint { spec, ports, virtual_ips }));
    Ok(Service { endpoint, allocation_error: "".into(), ..service.clone() })
}

/// The virtual addresses: those that are kept, in their order, then new ones.
fn addresses(
    wished: &[NetworkId],
    had: &[VirtualIp],
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
) -> Result<Vec<VirtualIp>, Lack> {
    let mut all: Vec<VirtualIp> = Vec::new();
    for address in had.iter().filter(|address| is_had(address, networks)) {
        let is_wished = wished.iter().any(|network| network.as_str() == address.network_id);
        if is_wished && !all.iter().any(|other| other.network_id == address.network_id) {
            all.push(address.clone());
        }
    }
    for id in wished {
        if all.iter().any(|address| address.network_id == id.as_str()) {
            continue;
        }
        let network = networks.ready(id)?;
        let addr = match is_local(&network.body) {
            true => String::new(),
            false => next_address(network, draft)?,
        };
        all.push(VirtualIp { network_id: id.into(), addr });
    }
    Ok(all)
}

/// The networks that a decision about a service relies on.
pub(crate) fn relies_on(service: &Service) -> impl Iterator<Item = NetworkId> + '_ {
    let endpoint = service.endpoint.iter();
    endpoint.flat_map(|endpoint| &endpoint.virtual_ips).map(|address| (&*address.network_id).into())
}
