//! What an object lacks, as users are told, and what it therefore waits for.

use std::sync::Arc;

use protocol::id::{NetworkId, ServiceId};

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lack {
    #[error("ingress network is missing")]
    Ingress,
    #[error("ingress network {0} is already present")]
    SecondIngress(NetworkId),
    #[error("could not find network {0}")]
    Network(NetworkId),
    #[error("network {0} not allocated yet")]
    Unallocated(NetworkId),
    #[error("could not find an available IP in network {0}")]
    Address(NetworkId),
    #[error("address {address} cannot be had in network {network}")]
    RequestedAddress { address: String, network: NetworkId },
    #[error("could not find an available subnet")]
    Subnet,
    #[error("subnet {0} overlaps with another network")]
    Overlap(String),
    #[error("invalid {what} {text}")]
    Invalid { what: &'static str, text: String },
    #[error("could not find an available VXLAN id")]
    Vxlan,
    #[error("VXLAN id {0} cannot be had")]
    RequestedVxlan(u32),
    #[error("plugin {0} not supported")]
    Plugin(String),
    #[error("could not find an available port")]
    Port,
    #[error("port {0} cannot be had")]
    RequestedPort(u32),
    #[error("could not find service {0}")]
    Service(ServiceId),
    /// The service is about to be given what it needs.
    #[error("service {0} has pending allocations")]
    Pending(ServiceId),
    #[error("service {service} has pending allocations: {why}")]
    Failed { service: ServiceId, why: Arc<str> },
}

/// What may end a lack, beside a change of the object itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Any network comes, changes or goes.
    Networks,
    /// One network changes.
    Network(NetworkId),
    /// An address of it is released, whichever.
    Address(NetworkId),
    /// An address of it is released, and it may be a certain one.
    OneAddress(NetworkId),
    /// A port is released.
    Port,
    /// A service changes.
    Service(ServiceId),
    /// Nothing but time.
    Nothing,
}

impl Lack {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Ingress
            | Self::SecondIngress(_)
            | Self::Subnet
            | Self::Overlap(_)
            | Self::Vxlan
            | Self::RequestedVxlan(_) => Cause::Networks,
            Self::Network(network) | Self::Unallocated(network) => Cause::Network(network.clone()),
            Self::Address(network) => Cause::Address(network.clone()),
            Self::RequestedAddress { network, .. } => Cause::OneAddress(network.clone()),
            Self::Port | Self::RequestedPort(_) => Cause::Port,
            Self::Service(service) | Self::Pending(service) | Self::Failed { service, .. } => {
                Cause::Service(service.clone())
            }
            Self::Invalid { .. } | Self::Plugin(_) => Cause::Nothing,
        }
    }

    /// Whether users are told: what is about to be there is not worth a write.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self, Self::Pending(_) | Self::Service(_))
    }
}
