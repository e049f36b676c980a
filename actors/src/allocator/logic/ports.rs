//! The published ports of a service (`scheduler-and-allocator` §14).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};

use protocol::wire::{PortConfig, port_config::Protocol};

use super::{
    holdings::{Holding, is_ingress},
    lack::Lack,
    pools::Draft,
};

const DYNAMIC: RangeInclusive<u128> = 30_000..=32_767;
const PORT_MAX: u32 = 65_535;

/// Whether a port is for the allocator to choose.
fn is_dynamic(port: &PortConfig) -> bool {
    is_ingress(port) && port.published_port == 0
}

/// Ports in the order in which they are shown: those that the spec decides, then the others.
fn in_order(wish: &[PortConfig]) -> impl Iterator<Item = &PortConfig> {
    let (dynamic, decided): (Vec<_>, Vec<_>) = wish.iter().partition(|port| is_dynamic(port));
    decided.into_iter().chain(dynamic)
}

/// Whether ports are what the spec asks for.
pub(crate) fn are_published(wish: &[PortConfig], ports: &[PortConfig]) -> bool {
    wish.len() == ports.len()
        && in_order(wish).zip(ports).all(|(wish, port)| match is_dynamic(wish) {
            true => {
                port.published_port != 0
                    && *wish == PortConfig { published_port: 0, ..port.clone() }
            }
            false => wish == port,
        })
}

/// Publishes what the spec asks for. `current` is what the service has, and may keep.
pub(crate) fn publish<'a>(
    wish: &'a [PortConfig],
    current: &'a [PortConfig],
    draft: &mut Draft<'_>,
) -> Result<Vec<PortConfig>, Lack> {
    let mut held: BTreeSet<_> = current.iter().filter(is_published).map(key).collect();
    let mut known = Known::new(wish, current);
    let publish = |port: &'a PortConfig| {
        let published_port = match port.published_port {
            number if !is_ingress(port) => number,
            0 => match known.take(port) {
                Some(number) => number,
                None => dynamic(port, draft)?,
            },
            number => {
                check(port)?;
                let is_had =
                    held.remove(&key(port)) || draft.take(Holding::Port(port.protocol, number));
                is_had.then_some(number).ok_or(Lack::RequestedPort(number))?
            }
        };
        Ok(PortConfig { published_port, ..port.clone() })
    };
    in_order(wish).map(publish).collect()
}

fn is_published(port: &&PortConfig) -> bool {
    is_ingress(port) && port.published_port != 0
}

fn key(port: &PortConfig) -> (i32, u32) {
    (port.protocol, port.published_port)
}

fn dynamic(port: &PortConfig, draft: &mut Draft<'_>) -> Result<u32, Lack> {
    check(port)?;
    draft.next_port(port.protocol, &DYNAMIC).ok_or(Lack::Port)
}

fn check(port: &PortConfig) -> Result<(), Lack> {
    let invalid = |what, number: String| Err(Lack::Invalid { what, text: number });
    match port.published_port {
        _ if Protocol::try_from(port.protocol).is_err() => {
            invalid("protocol", port.protocol.to_string())
        }
        number if number > PORT_MAX => invalid("published port", number.to_string()),
        _ => Ok(()),
    }
}

/// The numbers that a service has by name, protocol and target port, for ports that may keep them:
/// only while there are as many ports as before.
struct Known<'a>(BTreeMap<(&'a str, i32, u32), VecDeque<u32>>);

impl<'a> Known<'a> {
    fn new(wish: &'a [PortConfig], current: &'a [PortConfig]) -> Self {
        let mut known = BTreeMap::<_, VecDeque<_>>::new();
        if wish.len() == current.len() {
            // What the spec decides is not for another port.
            let decided: BTreeSet<_> = wish.iter().filter(is_published).map(key).collect();
            let free = |port: &&PortConfig| is_published(port) && !decided.contains(&key(port));
            for port in current.iter().filter(free) {
                let numbers = known.entry((&*port.name, port.protocol, port.target_port));
                numbers.or_default().push_back(port.published_port);
            }
        }
        Self(known)
    }

    /// Takes the number that a port had.
    fn take(&mut self, port: &'a PortConfig) -> Option<u32> {
        self.0.get_mut(&(&*port.name, port.protocol, port.target_port))?.pop_front()
    }
}
