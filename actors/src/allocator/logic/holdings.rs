//! What an object holds, read from the object alone: whatever is in use can be seen in a view.

use std::collections::BTreeSet;

use ipnet::IpNet;
use protocol::{
    id::{NetworkId, NodeId},
    objects::{Network, Node, Service, Task, TaskState},
    wire::{self, NetworkAttachment, PortConfig, port_config::PublishMode},
};

use super::{
    network::{is_allocated, is_local, vxlan_ids},
    subnets::{number, span},
};

/// One thing that an object holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holding {
    /// A port that is published on every node, by the number of its protocol.
    Port(i32, u32),
    /// The network id of one subnet of an overlay network.
    Vxlan(u32),
    /// A subnet: the numbers of its first and its last address.
    Subnet((u128, u128)),
    /// The number of an address in a network.
    Address(NetworkId, u128),
    /// A node's need of a network, for one task. Others may have the same.
    Use(NodeId, NetworkId),
}

pub(crate) type Holdings = BTreeSet<Holding>;

pub(crate) fn is_ingress(port: &PortConfig) -> bool {
    port.publish_mode == i32::from(PublishMode::Ingress)
}

/// The number of an address with or without the length of its prefix.
pub(crate) fn parsed(text: &str) -> Option<u128> {
    let with_prefix = text.parse::<IpNet>().map(|subnet| subnet.addr());
    with_prefix.or_else(|_| text.parse()).ok().map(number)
}

/// Subnets, addresses of gateways and reserved ones, and VXLAN ids.
pub(crate) fn of_network(network: &Network) -> Holdings {
    let mut holdings = Holdings::new();
    if !is_allocated(&network.body) {
        return holdings;
    }
    let address = |text: &str| Some(Holding::Address(network.id.clone(), parsed(text)?));
    for config in network.body.ipam.iter().flat_map(|ipam| &ipam.configs) {
        if let Ok(subnet) = config.subnet.parse() {
            holdings.insert(Holding::Subnet(span(&subnet)));
        }
        let reserved = config.reserved.values();
        holdings.extend(reserved.chain([&config.gateway]).filter_map(|text| address(text)));
    }
    let ids = network.body.driver_state.as_ref().and_then(|driver| vxlan_ids(&driver.options));
    holdings.extend(ids.unwrap_or_default().into_iter().map(Holding::Vxlan));
    holdings
}

/// Ports and virtual addresses.
pub(crate) fn of_service(service: &Service) -> Holdings {
    let Some(endpoint) = &service.endpoint else { return Holdings::new() };
    let published = endpoint.ports.iter().filter(|port| is_ingress(port));
    let ports = published.map(|port| Holding::Port(port.protocol, port.published_port));
    let addresses = endpoint.virtual_ips.iter().filter_map(|address| {
        Some(Holding::Address(address.network_id.as_str().into(), parsed(&address.addr)?))
    });
    ports.filter(|port| !matches!(port, Holding::Port(_, 0))).chain(addresses).collect()
}

/// The addresses of a node.
pub(crate) fn of_node(node: &Node) -> Holdings {
    #[expect(deprecated, reason = "older managers gave a node its one address in this field")]
    let old = &node.rest.attachment;
    node.rest.attachments.iter().chain(old).flat_map(addresses).collect()
}

/// Addresses, until the task has ended; and what its node needs for it.
pub(crate) fn of_task(task: &Task) -> Holdings {
    if task.status.state > TaskState::RUNNING {
        return Holdings::new();
    }
    let uses = task.networks.iter().filter_map(|attachment| {
        let network = attachment.network.as_ref()?;
        let is_used = !task.node_id.is_empty() && !is_local(network) && !network.is_ingress();
        is_used.then(|| Holding::Use(task.node_id.clone(), network.id.as_str().into()))
    });
    task.networks.iter().flat_map(addresses).chain(uses).collect()
}

fn addresses(attachment: &NetworkAttachment) -> impl Iterator<Item = Holding> + '_ {
    let network = attachment.network.as_ref().map(|network: &wire::Network| &*network.id);
    let addresses = attachment.addresses.iter().filter_map(|text| parsed(text));
    addresses.map(move |address| Holding::Address(network.unwrap_or_default().into(), address))
}
