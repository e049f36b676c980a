//! STORE-7: the indices are what the objects make them, and a name belongs to one object of its
//! kind.

use std::collections::BTreeMap;

use actors::store::View;

/// Looks at one view of a member.
pub fn check(member: u64, view: &View) {
    let mut names: BTreeMap<(&str, String), &str> = BTreeMap::new();
    let services = view.services().map(|one| ("service", one.name(), one.id.as_str()));
    let configs = view.configs().map(|one| ("config", one.name(), one.id.as_str()));
    let networks = view.networks().map(|one| ("network", one.name(), one.id.as_str()));
    for (kind, name, id) in services.chain(configs).chain(networks) {
        if name.is_empty() {
            continue;
        }
        if let Some(other) = names.insert((kind, name.to_lowercase()), id) {
            panic!("names: {kind}s {other} and {id} of member {member} are both called {name}");
        }
    }
    assert!(view.has_right_indices(), "indices: those of member {member} are not its objects'");
}

#[cfg(test)]
mod tests {
    use actors::store::Restore;
    use prost::Message;
    use protocol::wire::{Annotations, Service, ServiceSpec, StoreSnapshot};

    use super::*;

    #[test]
    #[should_panic(expected = "names: services a and b of member 1 are both called Web")]
    fn a_name_that_two_have_is_found() {
        let service = |id: &str, name: &str| {
            let annotations = Some(Annotations { name: name.to_owned(), ..Default::default() });
            let spec = Some(ServiceSpec { annotations, ..Default::default() });
            Service { id: id.to_owned(), spec, ..Default::default() }
        };
        let services = vec![service("a", "web"), service("b", "Web")];
        let mut restore = Restore::default();
        let snapshot = StoreSnapshot { services, ..Default::default() }.encode_to_vec();
        let mut rest = &*snapshot;
        while !rest.is_empty() {
            restore.add_field(&mut rest).expect("it was encoded just now");
        }
        check(1, &restore.finish(1));
    }
}
