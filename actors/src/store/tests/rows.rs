//! The rows of store-and-raft §1, §3 to §5, each under the name that it has there. Where this store
//! differs on purpose, the case says so, and `docs/design/store.md` says why.

mod events;
mod kinds;
mod metadata;
mod transactions;

use super::*;

/// An object of a kind with nothing but an id and a name; a node's name is its host's.
fn object(kind: Kind, id: &str, name: &str) -> Object {
    let (id, annotations) = (id.to_owned(), Some(named(name)));
    macro_rules! in_spec {
        ($kind:ident, $spec:ident) => {{
            let spec = Some(wire::$spec { annotations, ..Default::default() });
            protocol::objects::$kind::from(wire::$kind { id, spec, ..Default::default() }).into()
        }};
    }
    macro_rules! outside {
        ($kind:ident) => {{
            let object = wire::$kind { id, annotations, ..Default::default() };
            protocol::objects::$kind::from(object).into()
        }};
    }
    match kind {
        Kind::Cluster => in_spec!(Cluster, ClusterSpec),
        Kind::Config => in_spec!(Config, ConfigSpec),
        Kind::Extension => outside!(Extension),
        Kind::Network => in_spec!(Network, NetworkSpec),
        Kind::Node => {
            let hostname = name.to_owned();
            let description = Some(wire::NodeDescription { hostname, ..Default::default() });
            Node::from(wire::Node { id, description, ..Default::default() }).into()
        }
        Kind::Resource => {
            let kind = "Volcano".to_owned();
            Resource::from(wire::Resource { id, annotations, kind, ..Default::default() }).into()
        }
        Kind::Secret => in_spec!(Secret, SecretSpec),
        Kind::Service => in_spec!(Service, ServiceSpec),
        Kind::Task => outside!(Task),
        Kind::Volume => in_spec!(Volume, VolumeSpec),
    }
}

/// A store with the extension that the resources of these tests need.
fn volcanoes() -> View {
    with(vec![extension("volcano", "Volcano").into()])
}
