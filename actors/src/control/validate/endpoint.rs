//! Published ports, as far as one service alone decides (validation.md §4, row 19).

use protocol::wire::{EndpointSpec, endpoint_spec::ResolutionMode, port_config::PublishMode};

use crate::control::Error;

/// Checks that no port is published twice, and that none is published through the routing mesh
/// when the service has no virtual address.
pub(super) fn check_endpoint(endpoint: Option<&EndpointSpec>) -> Result<(), Error> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let ingress =
        endpoint.ports.iter().any(|port| port.publish_mode == PublishMode::Ingress as i32);
    if endpoint.mode == ResolutionMode::Dnsrr as i32 && ingress {
        return Err(Error::invalid(
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ));
    }
    let mut published: Vec<_> = endpoint
        .ports
        .iter()
        .filter(|port| port.published_port != 0)
        .map(|port| (port.published_port, port.protocol))
        .collect();
    let all = published.len();
    published.sort_unstable();
    published.dedup();
    if published.len() < all {
        return Err(Error::invalid("EndpointSpec: duplicate published ports provided"));
    }
    Ok(())
}
