//! What is in use, kept up with each change; and a draft of a decision, which takes from it.

use std::{collections::BTreeMap, ops::RangeInclusive};

use ipnet::IpNet;
use protocol::id::{NetworkId, NodeId};

use super::{
    holdings::{Holding, Holdings, of_network, of_node, of_service, of_task},
    numbers::Numbers,
    subnets::{Pool, Subnets, span},
};
use crate::store::View;

/// Everything that is in use (ALLOC-3).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    ports: BTreeMap<i32, Numbers>,
    vxlans: Numbers,
    subnets: Subnets,
    addresses: BTreeMap<NetworkId, Numbers>,
    /// How many tasks of a node use a network.
    uses: BTreeMap<NodeId, BTreeMap<NetworkId, u32>>,
}

/// Pools of which nothing is in use are as good as none.
impl PartialEq for Pools {
    fn eq(&self, other: &Self) -> bool {
        fn used<K: Ord>(numbers: &BTreeMap<K, Numbers>) -> Vec<(&K, &Numbers)> {
            numbers.iter().filter(|(_, numbers)| !numbers.is_empty()).collect()
        }
        used(&self.ports) == used(&other.ports)
            && used(&self.addresses) == used(&other.addresses)
            && self.vxlans == other.vxlans
            && self.subnets == other.subnets
            && self.uses == other.uses
    }
}

impl Pools {
    /// What the objects of a view hold.
    pub(crate) fn of(view: &View) -> Self {
        let mut pools = Self::default();
        view.networks().for_each(|network| pools.take_all(&of_network(network)));
        view.nodes().for_each(|node| pools.take_all(&of_node(node)));
        view.services().for_each(|service| pools.take_all(&of_service(service)));
        let attached = view.tasks().filter(|task| !task.networks.is_empty());
        attached.for_each(|task| pools.take_all(&of_task(task)));
        pools
    }

    pub(crate) fn take_all(&mut self, holdings: &Holdings) {
        holdings.iter().for_each(|holding| self.take(holding));
    }

    /// Notes one user more.
    pub(crate) fn take(&mut self, holding: &Holding) {
        match holding {
            Holding::Port(protocol, port) => {
                self.ports.entry(*protocol).or_default().take((*port).into());
            }
            Holding::Vxlan(id) => self.vxlans.take((*id).into()),
            Holding::Subnet(block) => self.subnets.take(*block),
            Holding::Address(network, address) => {
                self.addresses.entry(network.clone()).or_default().take(*address);
            }
            Holding::Use(node, network) => {
                let uses = self.uses.entry(node.clone()).or_default();
                *uses.entry(network.clone()).or_default() += 1;
            }
        }
    }

    /// Notes one user less. Returns whether something can be had now that could not before.
    pub(crate) fn give_back(&mut self, holding: &Holding) -> bool {
        match holding {
            Holding::Port(protocol, port) => {
                self.ports.get_mut(protocol).is_some_and(|ports| ports.give_back((*port).into()))
            }
            Holding::Vxlan(id) => self.vxlans.give_back((*id).into()),
            Holding::Subnet(block) => self.subnets.give_back(*block),
            Holding::Address(network, address) => {
                let Some(addresses) = self.addresses.get_mut(network) else { return false };
                let is_free = addresses.give_back(*address);
                if addresses.is_empty() {
                    self.addresses.remove(network);
                }
                is_free
            }
            Holding::Use(node, network) => {
                if let Some(uses) = self.uses.get_mut(node) {
                    match uses.get_mut(network) {
                        Some(1) | None => drop(uses.remove(network)),
                        Some(count) => *count -= 1,
                    }
                    if uses.is_empty() {
                        self.uses.remove(node);
                    }
                }
                false
            }
        }
    }

    fn is_used(&self, holding: &Holding) -> bool {
        match holding {
            Holding::Port(protocol, port) => {
                self.ports.get(protocol).is_some_and(|ports| ports.is_used((*port).into()))
            }
            Holding::Vxlan(id) => self.vxlans.is_used((*id).into()),
            Holding::Subnet(block) => self.subnets.overlaps(*block),
            Holding::Address(network, address) => {
                self.addresses.get(network).is_some_and(|addresses| addresses.is_used(*address))
            }
            Holding::Use(..) => false,
        }
    }

    /// Notes what was chosen last of the range that begins with `first`.
    fn handed_out(&mut self, holding: &Holding, first: u128) {
        match holding {
            Holding::Port(protocol, port) => {
                self.ports.entry(*protocol).or_default().handed_out(first, (*port).into());
            }
            Holding::Vxlan(id) => self.vxlans.handed_out(first, (*id).into()),
            Holding::Subnet(block) => self.subnets.handed_out(*block),
            Holding::Address(network, address) => {
                self.addresses.entry(network.clone()).or_default().handed_out(first, *address);
            }
            Holding::Use(..) => {}
        }
    }

    /// Whether an address of a range in a network is free.
    pub(crate) fn has_free(&self, network: &NetworkId, range: &RangeInclusive<u128>) -> bool {
        self.addresses.get(network).is_none_or(|addresses| addresses.has_free(range))
    }

    /// The networks that the tasks of a node use.
    pub(crate) fn used_by(&self, node: &NodeId) -> Vec<NetworkId> {
        self.uses.get(node).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Looks on where another left off.
    pub(crate) fn continue_from(&mut self, other: Self) {
        for (protocol, ports) in other.ports {
            self.ports.entry(protocol).or_default().continue_from(ports);
        }
        for (network, addresses) in other.addresses {
            if let Some(own) = self.addresses.get_mut(&network) {
                own.continue_from(addresses);
            }
        }
        self.vxlans.continue_from(other.vxlans);
        self.subnets.continue_from(&other.subnets);
    }
}

/// What one decision takes. It is in use from the moment that it is taken.
#[derive(Debug)]
pub(crate) struct Draft<'p> {
    pools: &'p mut Pools,
    taken: Holdings,
    /// What was chosen here, and the first number of the range that it is from.
    chosen: Vec<(Holding, u128)>,
}

impl<'p> Draft<'p> {
    pub(crate) fn new(pools: &'p mut Pools) -> Self {
        Self { pools, taken: Holdings::new(), chosen: Vec::new() }
    }

    /// The networks that the tasks of a node use.
    pub(crate) fn used_by(&self, node: &NodeId) -> Vec<NetworkId> {
        self.pools.used_by(node)
    }

    /// Takes exactly this, unless somebody has it.
    pub(crate) fn take(&mut self, holding: Holding) -> bool {
        let is_free = !self.pools.is_used(&holding);
        if is_free {
            self.pools.take(&holding);
            self.taken.insert(holding);
        }
        is_free
    }

    /// Whether this decision has taken it already.
    pub(crate) fn has(&self, holding: &Holding) -> bool {
        self.taken.contains(holding)
    }

    /// Takes the next port of a range.
    pub(crate) fn next_port(&mut self, protocol: i32, range: &RangeInclusive<u128>) -> Option<u32> {
        let port = self.pools.ports.entry(protocol).or_default().take_next(range)?;
        let port = u32::try_from(port).expect("the range is one of ports");
        self.chose(Holding::Port(protocol, port), *range.start());
        Some(port)
    }

    /// Takes the next VXLAN id of a range.
    pub(crate) fn next_vxlan(&mut self, range: &RangeInclusive<u128>) -> Option<u32> {
        let id = self.pools.vxlans.take_next(range)?;
        let id = u32::try_from(id).expect("the range is one of VXLAN ids");
        self.chose(Holding::Vxlan(id), *range.start());
        Some(id)
    }

    /// Takes the next address of a range in a network.
    pub(crate) fn next_address(
        &mut self,
        network: &NetworkId,
        range: &RangeInclusive<u128>,
    ) -> Option<u128> {
        let addresses = self.pools.addresses.entry(network.clone()).or_default();
        let address = addresses.take_next(range)?;
        self.chose(Holding::Address(network.clone(), address), *range.start());
        Some(address)
    }

    /// Takes the next subnet of a family.
    pub(crate) fn next_subnet(&mut self, pools: &[Pool], is_ipv4: bool) -> Option<IpNet> {
        let subnet = self.pools.subnets.take_next(pools, is_ipv4)?;
        let block = span(&subnet);
        self.chose(Holding::Subnet(block), block.0);
        Some(subnet)
    }

    fn chose(&mut self, holding: Holding, first: u128) {
        self.taken.insert(holding.clone());
        self.chosen.push((holding, first));
    }

    /// What was taken stays so, and the next search begins behind it.
    pub(crate) fn keep(self) -> Holdings {
        for (holding, first) in &self.chosen {
            self.pools.handed_out(holding, *first);
        }
        self.taken
    }

    /// Gives everything back, without a trace.
    pub(crate) fn undo(&mut self) {
        self.chosen.clear();
        for holding in std::mem::take(&mut self.taken) {
            self.pools.give_back(&holding);
        }
    }
}
