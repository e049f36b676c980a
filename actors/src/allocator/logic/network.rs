//! What a network is given: a subnet with a gateway and a VXLAN id for each of its configurations
//! (`scheduler-and-allocator` §15).

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;
use protocol::{
    id::NetworkId,
    objects::Network,
    wire::{self, Driver, IpamConfig, IpamOptions, NetworkSpec, ipam_config::AddressFamily},
};

use super::{
    holdings::{Holding, parsed},
    lack::Lack,
    pools::{Draft, Pools},
    subnets::{Pool, address, hosts, number, span},
};

const OVERLAY: &str = "overlay";
const DEFAULT_IPAM: &str = "default";
/// Drivers whose networks are a node's own.
const LOCAL: [&str; 4] = ["bridge", "host", "macvlan", "ipvlan"];
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
const VXLAN_IDS: RangeInclusive<u128> = 4096..=0xff_ffff;

/// Whether a network has what it needs.
pub(crate) fn is_allocated(network: &wire::Network) -> bool {
    network.driver_state.is_some() && network.ipam.is_some()
}

/// Whether each node has such a network for itself: then nobody is given addresses in it.
pub(crate) fn is_local(network: &wire::Network) -> bool {
    LOCAL.contains(&driver_name(network))
}

fn driver_name(network: &wire::Network) -> &str {
    let asked = network.spec.as_ref().and_then(|spec| spec.driver_config.as_ref());
    let driver = network.driver_state.as_ref().or(asked);
    driver.map(|driver| &*driver.name).filter(|name| !name.is_empty()).unwrap_or(OVERLAY)
}

/// The VXLAN ids in the options of a driver; none if they cannot be read.
pub(crate) fn vxlan_ids(options: &BTreeMap<String, String>) -> Option<Vec<u32>> {
    let Some(list) = options.get(VXLAN_OPTION) else { return Some(Vec::new()) };
    list.split(',').map(|id| id.trim().parse().ok()).collect()
}

/// A subnet of an allocated network.
pub(crate) struct Subnet {
    pub(crate) net: IpNet,
    /// What is handed out of it.
    range: RangeInclusive<u128>,
}

/// The subnets of an allocated network, in order.
fn subnets(network: &wire::Network) -> impl Iterator<Item = Subnet> + '_ {
    let configs = network.ipam.iter().flat_map(|ipam| &ipam.configs);
    configs.filter_map(|config| {
        let net: IpNet = config.subnet.parse().ok()?;
        let all = hosts(&net);
        let range = match config.range.parse::<IpNet>() {
            Ok(range) => {
                let (first, last) = span(&range);
                first.max(*all.start())..=last.min(*all.end())
            }
            Err(_) => all,
        };
        Some(Subnet { net, range })
    })
}

/// Takes the next address in a network; returns it with the length of its prefix.
pub(crate) fn next_address(network: &Network, draft: &mut Draft<'_>) -> Result<String, Lack> {
    let found = subnets(&network.body).find_map(|subnet| {
        let found = draft.next_address(&network.id, &subnet.range)?;
        Some(format!("{}/{}", address(found), subnet.net.prefix_len()))
    });
    found.ok_or_else(|| Lack::Address(network.id.clone()))
}

/// Whether there is a next address in a network.
pub(crate) fn has_room(network: &Network, pools: &Pools) -> bool {
    subnets(&network.body).any(|subnet| pools.has_free(&network.id, &subnet.range))
}

/// Takes one address in a network, by its text.
pub(crate) fn exact_address(
    network: &Network,
    text: &str,
    draft: &mut Draft<'_>,
) -> Result<String, Lack> {
    let number = parsed(text).ok_or_else(|| invalid("address", text))?;
    let subnet = subnets(&network.body).find(|subnet| hosts(&subnet.net).contains(&number));
    let taken =
        subnet.filter(|_| draft.take(Holding::Address(network.id.clone(), number))).map(|subnet| {
            let prefix = subnet.net.prefix_len();
            format!("{}/{prefix}", address(number))
        });
    let (address, network) = (text.to_owned(), network.id.clone());
    taken.ok_or(Lack::RequestedAddress { address, network })
}

fn invalid(what: &'static str, text: &str) -> Lack {
    Lack::Invalid { what, text: text.to_owned() }
}

/// The network with all it needs.
pub(crate) fn allocated(
    network: &Network,
    pools: &[Pool],
    draft: &mut Draft<'_>,
) -> Result<Network, Lack> {
    let body = &*network.body;
    let name = driver_name(body);
    let (driver_state, ipam) = if LOCAL.contains(&name) {
        let driver = Driver { name: name.to_owned(), ..Default::default() };
        (driver, IpamOptions { driver: Some(Driver::default()), ..Default::default() })
    } else if name == OVERLAY {
        let ipam = ipam(&network.id, body, pools, draft)?;
        (overlay(body.spec.as_ref(), &ipam, draft)?, ipam)
    } else {
        return Err(Lack::Plugin(name.to_owned()));
    };
    let body = wire::Network { driver_state: Some(driver_state), ipam: Some(ipam), ..body.clone() };
    Ok(Network { body: Arc::new(body), ..network.clone() })
}

/// The addresses of an overlay network: what it has, else what it asks for, else one IPv4 subnet.
fn ipam(
    id: &NetworkId,
    body: &wire::Network,
    pools: &[Pool],
    draft: &mut Draft<'_>,
) -> Result<IpamOptions, Lack> {
    let asked = body.spec.as_ref().and_then(|spec| spec.ipam.as_ref());
    let had = body.ipam.as_ref().filter(|ipam| !ipam.configs.is_empty());
    let wish = had.or(asked).cloned().unwrap_or_default();
    let driver = wish.driver.unwrap_or_default();
    if !["", DEFAULT_IPAM].contains(&&*driver.name) {
        return Err(Lack::Plugin(driver.name));
    }
    let mut configs = wish.configs;
    if configs.is_empty() {
        configs.push(IpamConfig { family: AddressFamily::Ipv4.into(), ..Default::default() });
    }
    configs.iter_mut().try_for_each(|config| complete(id, config, pools, draft))?;
    let driver = Driver { name: DEFAULT_IPAM.to_owned(), ..driver };
    Ok(IpamOptions { driver: Some(driver), configs })
}

/// Fills in the subnet and the gateway that a configuration leaves open.
fn complete(
    id: &NetworkId,
    config: &mut IpamConfig,
    pools: &[Pool],
    draft: &mut Draft<'_>,
) -> Result<(), Lack> {
    let subnet = if config.subnet.is_empty() {
        let is_ipv4 = config.family != i32::from(AddressFamily::Ipv6);
        draft.next_subnet(pools, is_ipv4).ok_or(Lack::Subnet)?
    } else {
        let subnet: IpNet = config.subnet.parse().map_err(|_| invalid("subnet", &config.subnet))?;
        if !draft.take(Holding::Subnet(span(&subnet))) {
            return Err(Lack::Overlap(config.subnet.clone()));
        }
        subnet.trunc()
    };
    let hosts = hosts(&subnet);
    if !config.range.is_empty() {
        let range: Option<IpNet> = config.range.parse().ok();
        range
            .filter(|range| subnet.contains(range))
            .ok_or_else(|| invalid("range", &config.range))?;
    }
    for reserved in config.reserved.values() {
        if let Some(reserved) = parsed(reserved) {
            draft.take(Holding::Address(id.clone(), reserved));
        }
    }
    if config.gateway.is_empty() {
        let gateway = draft.next_address(id, &hosts).ok_or_else(|| Lack::Address(id.clone()))?;
        config.gateway = address(gateway).to_string();
    } else {
        let gateway: Option<IpAddr> = config.gateway.parse().ok();
        let gateway = gateway.map(number).filter(|gateway| hosts.contains(gateway));
        let holding = gateway.map(|gateway| Holding::Address(id.clone(), gateway));
        let is_had = holding.is_some_and(|holding| draft.has(&holding) || draft.take(holding));
        if !is_had {
            return Err(invalid("gateway", &config.gateway));
        }
    }
    config.subnet = subnet.to_string();
    Ok(())
}

/// What the driver is told: its options, and a VXLAN id for each IPv4 subnet.
fn overlay(
    spec: Option<&NetworkSpec>,
    ipam: &IpamOptions,
    draft: &mut Draft<'_>,
) -> Result<Driver, Lack> {
    let driver = spec.and_then(|spec| spec.driver_config.clone()).unwrap_or_default();
    let mut options = driver.options;
    let unreadable = |list: Option<&String>| invalid("VXLAN ids", list.map_or("", |list| list));
    let asked = vxlan_ids(&options).ok_or_else(|| unreadable(options.get(VXLAN_OPTION)))?;
    let subnets = ipam.configs.iter().filter(|config| {
        config.subnet.parse::<IpNet>().is_ok_and(|subnet| subnet.addr().is_ipv4())
    });
    let mut ids = Vec::new();
    for position in 0..subnets.count() {
        let id = match asked.get(position) {
            Some(id) => {
                let is_possible = VXLAN_IDS.contains(&(*id).into());
                if !is_possible || !draft.take(Holding::Vxlan(*id)) {
                    return Err(Lack::RequestedVxlan(*id));
                }
                *id
            }
            None => draft.next_vxlan(&VXLAN_IDS).ok_or(Lack::Vxlan)?,
        };
        ids.push(id.to_string());
    }
    if ids.is_empty() {
        options.remove(VXLAN_OPTION);
    } else {
        options.insert(VXLAN_OPTION.to_owned(), ids.join(","));
    }
    Ok(Driver { name: OVERLAY.to_owned(), options })
}
