//! Which subnets are in use, and which is next (`scheduler-and-allocator` §15).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::IpNet;

use super::numbers::Runs;
use crate::store::View;

const DEFAULT_POOL: &str = "10.0.0.0/8";
const DEFAULT_PREFIX: u8 = 24;

/// The number of an address; those of both families are distinct.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address with a number.
pub(crate) fn address(number: u128) -> IpAddr {
    Ipv6Addr::from(number).to_canonical()
}

/// The numbers of all addresses of a subnet.
pub(crate) fn span(subnet: &IpNet) -> (u128, u128) {
    (number(subnet.network()), number(subnet.broadcast()))
}

/// The numbers of a subnet that can be had: all but its own address and, in IPv4, the one that
/// means all of them. May be empty.
pub(crate) fn hosts(subnet: &IpNet) -> RangeInclusive<u128> {
    let (first, last) = span(subnet);
    let last = if subnet.addr().is_ipv4() { last.saturating_sub(1) } else { last };
    first.saturating_add(1)..=last
}

/// A range of addresses that is cut into subnets of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    range: IpNet,
    prefix: u8,
}

impl Pool {
    fn new(range: IpNet, prefix: u8) -> Option<Self> {
        let fits = (range.prefix_len()..=range.max_prefix_len()).contains(&prefix);
        fits.then_some(Self { range: range.trunc(), prefix })
    }

    /// The number of addresses in each subnet.
    fn step(&self) -> u128 {
        1_u128.checked_shl((self.range.max_prefix_len() - self.prefix).into()).unwrap_or(u128::MAX)
    }
}

/// The pools of the cluster; those that cannot be read or cut are left out.
pub(crate) fn pools(view: &View) -> Vec<Pool> {
    let settings = view.default_cluster().map(|cluster| &cluster.rest);
    let prefix = settings.map_or(0, |settings| settings.subnet_size);
    let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix > 0).unwrap_or(DEFAULT_PREFIX);
    let named = settings.map_or(&[][..], |settings| &settings.default_address_pool);
    let ranges = match named {
        [] => vec![DEFAULT_POOL],
        named => named.iter().map(String::as_str).collect(),
    };
    let ranges = ranges.into_iter().filter_map(|range| range.parse().ok());
    ranges.filter_map(|range| Pool::new(range, prefix)).collect()
}

/// The subnets in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subnets {
    /// The first and the last number of each, and how many have it.
    blocks: BTreeMap<(u128, u128), u32>,
    /// All of their addresses.
    covered: Runs,
    /// The first number of what was handed out last. It only says where to look first.
    last: Option<u128>,
}

impl PartialEq for Subnets {
    fn eq(&self, other: &Self) -> bool {
        (&self.blocks, &self.covered) == (&other.blocks, &other.covered)
    }
}

impl Subnets {
    /// Notes one user more.
    pub(crate) fn take(&mut self, (first, last): (u128, u128)) {
        *self.blocks.entry((first, last)).or_default() += 1;
        self.covered.insert(first, last);
    }

    /// Notes one user less. Returns whether something is free now that was not.
    pub(crate) fn give_back(&mut self, block: (u128, u128)) -> bool {
        match self.blocks.get_mut(&block) {
            Some(1) => drop(self.blocks.remove(&block)),
            Some(users) => {
                *users -= 1;
                return false;
            }
            None => return false,
        }
        let (first, last) = block;
        self.covered.remove(first, last);
        // Subnets are nested or have nothing in common. Only a store from elsewhere has nested ones.
        let others: Vec<_> = self.blocks.keys().filter(|other| overlap(other, &block)).collect();
        for (from, to) in others {
            self.covered.insert(*from, *to);
        }
        true
    }

    /// Whether a subnet has an address in common with one in use.
    pub(crate) fn overlaps(&self, (first, last): (u128, u128)) -> bool {
        self.covered.last_within(first, last).is_some()
    }

    /// Takes the next free subnet of a family behind the one that was handed out last. That it was
    /// handed out is noted later.
    pub(crate) fn take_next(&mut self, pools: &[Pool], is_ipv4: bool) -> Option<IpNet> {
        let pools: Vec<_> =
            pools.iter().filter(|pool| pool.range.addr().is_ipv4() == is_ipv4).collect();
        let current = self.last.and_then(|last| {
            let position = pools.iter().position(|pool| {
                let (first, end) = span(&pool.range);
                (first..=end).contains(&last)
            })?;
            Some((position, last.checked_add(pools[position].step())?))
        });
        let (position, behind) = current.unwrap_or((0, 0));
        let (before, rest) = pools.split_at(position);
        let behind = rest.first().map(|pool| (*pool, behind));
        let others = rest.iter().skip(1).chain(before).chain(rest.first());
        let all = behind.into_iter().chain(others.map(|pool| (*pool, 0)));
        let subnet = all.into_iter().find_map(|(pool, from)| self.free(pool, from))?;
        self.take(span(&subnet));
        Some(subnet)
    }

    /// Notes what was handed out last.
    pub(crate) fn handed_out(&mut self, (first, _): (u128, u128)) {
        self.last = Some(first);
    }

    /// The first free subnet of a pool from a number on.
    fn free(&self, pool: &Pool, from: u128) -> Option<IpNet> {
        let ((begin, end), step) = (span(&pool.range), pool.step());
        let mut first = begin.max(from);
        loop {
            first = begin.checked_add((first - begin).checked_next_multiple_of(step)?)?;
            let last = first.checked_add(step - 1)?;
            if last > end {
                return None;
            }
            match self.covered.last_within(first, last) {
                Some((_, used)) => first = used.checked_add(1)?,
                None => return IpNet::new(address(first), pool.prefix).ok(),
            }
        }
    }

    /// Looks on where another left off.
    pub(crate) fn continue_from(&mut self, other: &Self) {
        self.last = other.last;
    }
}

fn overlap((first, last): &(u128, u128), (other_first, other_last): &(u128, u128)) -> bool {
    first <= other_last && other_first <= last
}
