//! What a node is given: an address in each overlay network that its tasks use, and in the ingress
//! network (`scheduler-and-allocator` §12).

use std::sync::Arc;

use protocol::{
    id::NetworkId,
    objects::Node,
    wire::{self, NetworkAttachment},
};

use super::{
    lack::Lack,
    network::{is_local, next_address},
    networks::Networks,
    pools::Draft,
};

/// The networks that a node needs a place in: ingress first, then those that its tasks use.
pub(crate) fn needed(used: Vec<NetworkId>, networks: Networks<'_>) -> Vec<NetworkId> {
    let ingress = networks.ingress().ok();
    let used = used.into_iter().filter(|id| Some(id) != ingress);
    let is_there =
        |id: &NetworkId| networks.ready(id).is_ok_and(|network| !is_local(&network.body));
    ingress.cloned().into_iter().chain(used).filter(is_there).collect()
}

/// Whether a node whose tasks use these networks has the places that it needs and no others.
pub(crate) fn is_allocated(node: &Node, used: Vec<NetworkId>, networks: Networks<'_>) -> bool {
    let needed = needed(used, networks);
    let places: Vec<_> = needed.iter().filter_map(|id| had(node, id).cloned()).collect();
    places.len() == needed.len() && with_attachments(&node.rest, places) == *node.rest
}

/// The node with the places that it needs and no others, none if that changes nothing; and what it
/// lacks. A network that has no address left does not keep it from the others.
pub(crate) fn allocated(
    node: &Node,
    networks: Networks<'_>,
    draft: &mut Draft<'_>,
) -> (Option<Node>, Vec<Lack>) {
    let mut lacks = Vec::new();
    let mut attachments = Vec::new();
    for id in needed(draft.used_by(&node.id), networks) {
        if let Some(had) = had(node, &id) {
            attachments.push(had.clone());
            continue;
        }
        let place = networks.ready(&id).and_then(|network| {
            let addresses = vec![next_address(network, draft)?];
            Ok(NetworkAttachment {
                network: Some((&**network).into()),
                addresses,
                ..Default::default()
            })
        });
        match place {
            Ok(place) => attachments.push(place),
            Err(lack) => lacks.push(lack),
        }
    }
    let rest = with_attachments(&node.rest, attachments);
    let changed = (rest != *node.rest).then(|| Node { rest: Arc::new(rest), ..node.clone() });
    (changed, lacks)
}

/// The place that a node has in a network.
fn had<'n>(node: &'n Node, id: &NetworkId) -> Option<&'n NetworkAttachment> {
    #[expect(deprecated, reason = "older managers gave a node its one address in this field")]
    let old = &node.rest.attachment;
    let mut all = node.rest.attachments.iter().chain(old);
    all.find(|place| {
        let network = place.network.as_ref();
        network.is_some_and(|network| network.id == id.as_str()) && !place.addresses.is_empty()
    })
}

fn with_attachments(rest: &wire::Node, attachments: Vec<NetworkAttachment>) -> wire::Node {
    #[expect(deprecated, reason = "what the old field says has moved to the new one")]
    wire::Node { attachment: None, attachments, ..rest.clone() }
}

/// The networks that a decision about a node relies on.
pub(crate) fn relies_on(node: &Node) -> impl Iterator<Item = NetworkId> + '_ {
    let networks = node.rest.attachments.iter().filter_map(|place| place.network.as_ref());
    networks.map(|network| (&*network.id).into())
}
