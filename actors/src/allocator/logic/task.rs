//! What a new task is given: its places in networks, and the endpoint of its service
//! (`scheduler-and-allocator` §10).

use prost_types::Timestamp;
use protocol::{
    id::NetworkId,
    objects::{List, Network, Service, Task, TaskState, TaskStatus},
    wire::{NetworkAttachment, NetworkAttachmentConfig},
};

use super::{
    lack::Lack,
    network::{exact_address, is_allocated, is_local, next_address},
    networks::{Networks, of_task},
    pools::Draft,
    service,
};

const PENDING: &str = "pending task scheduling";

/// Whether a task still waits for what it needs.
pub(crate) fn is_new(task: &Task) -> bool {
    task.status.state < TaskState::PENDING
}

/// A new task as it is to be: ready to be placed.
pub(crate) fn allocated(
    task: &Task,
    service: Option<&Service>,
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
    now: Timestamp,
) -> Result<Task, Lack> {
    if let Some(service) = service.filter(|service| !service::is_allocated(service, networks)) {
        let (service, why) = (service.id.clone(), service.allocation_error.clone());
        return Err(match why.is_empty() {
            true => Lack::Pending(service),
            false => Lack::Failed { service, why },
        });
    }
    let places = if task.networks.is_empty() {
        asked(task, service, networks, draft)?
    } else {
        completed(&task.networks, networks, draft)?
    };
    let status = TaskStatus {
        timestamp: Some(now),
        state: TaskState::PENDING,
        message: PENDING.into(),
        ..TaskStatus::default()
    };
    let endpoint = service.and_then(|service| service.endpoint.as_ref()).or(task.endpoint.as_ref());
    Ok(Task { status, endpoint: endpoint.cloned(), networks: places, ..task.clone() })
}

/// The places that task and service ask for: in the ingress network first.
fn asked(
    task: &Task,
    service: Option<&Service>,
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
) -> Result<List<NetworkAttachment>, Lack> {
    let mut places = Vec::new();
    if service.is_some_and(service::needs_ingress) {
        let ingress = networks.ready(networks.ingress()?)?;
        places.push(place(ingress, &NetworkAttachmentConfig::default(), draft)?);
    }
    for wish in of_task(task, service) {
        // Whoever asks for a network that does not exist does without.
        let id = NetworkId::from(&*wish.target);
        if networks.get(&id).is_some() {
            places.push(place(networks.ready(&id)?, wish, draft)?);
        }
    }
    Ok(places.into())
}

/// A place in a network, with a copy of all of it.
fn place(
    network: &Network,
    wish: &NetworkAttachmentConfig,
    draft: &mut Draft<'_>,
) -> Result<NetworkAttachment, Lack> {
    Ok(NetworkAttachment {
        network: Some(network.into()),
        addresses: addresses(network, &wish.addresses, draft)?,
        aliases: wish.aliases.clone(),
        driver_attachment_opts: wish.driver_attachment_opts.clone(),
    })
}

/// The addresses that are asked for, or one.
fn addresses(
    network: &Network,
    wished: &[String],
    draft: &mut Draft<'_>,
) -> Result<Vec<String>, Lack> {
    if is_local(&network.body) {
        return Ok(Vec::new());
    }
    let wished: Vec<_> = wished.iter().filter(|address| !address.is_empty()).collect();
    if wished.is_empty() {
        return Ok(vec![next_address(network, draft)?]);
    }
    wished.into_iter().map(|address| exact_address(network, address, draft)).collect()
}

/// The places that a task came with. Addresses that it has it holds.
fn completed(
    places: &[NetworkAttachment],
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
) -> Result<List<NetworkAttachment>, Lack> {
    let mut all = Vec::new();
    for place in places {
        let mut place = place.clone();
        if let Some(network) = &mut place.network {
            let is_complete =
                is_allocated(network) && (is_local(network) || has_address(&place.addresses));
            if !is_complete {
                let known = networks.ready(&(&*network.id).into())?;
                *network = (&**known).into();
                if !has_address(&place.addresses) {
                    place.addresses = addresses(known, &[], draft)?;
                }
            }
        }
        all.push(place);
    }
    Ok(all.into())
}

fn has_address(addresses: &[String]) -> bool {
    addresses.iter().any(|address| !address.is_empty())
}

/// The networks that a decision about a task relies on.
pub(crate) fn relies_on(task: &Task) -> impl Iterator<Item = NetworkId> + '_ {
    let networks = task.networks.iter().filter_map(|place| place.network.as_ref());
    networks.map(|network| (&*network.id).into())
}
