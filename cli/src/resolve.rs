//! From names to objects, and from ids to the names that are shown (cli.md §1).

use std::collections::BTreeMap;

use protocol::wire::{
    Cluster, Config, GetClusterRequest, GetNetworkRequest, GetNodeRequest, GetServiceRequest,
    ListClustersRequest, ListConfigsRequest, ListNetworksRequest, ListNodesRequest,
    ListSecretsRequest, ListServicesRequest, Network, Node, Secret, Service, list_clusters_request,
    list_configs_request, list_networks_request, list_nodes_request, list_secrets_request,
    list_services_request,
};

use tonic::{Code, Response, Status};

use crate::{connect::Client, error::Error};

/// Takes the only object of a listing by name.
fn only<T>(kind: &str, name: &str, mut found: Vec<T>) -> Result<T, Error> {
    match (found.pop(), found.len()) {
        (None, _) => Err(Error::usage(format!("{kind} {name} not found"))),
        (Some(object), 0) => Ok(object),
        (Some(_), others) => {
            let matches = others + 1;
            Err(Error::usage(format!("{kind} {name} is ambiguous ({matches} matches found)")))
        }
    }
}

/// The object with an id. Whoever could not be asked has not said that there is none.
fn by_id<T>(answer: Result<Response<T>, Status>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if [Code::NotFound, Code::InvalidArgument].contains(&status.code()) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

impl Client {
    /// Finds a node by its id, else by its name.
    pub(crate) async fn node(&mut self, name: &str) -> Result<Node, Error> {
        let request = GetNodeRequest { node_id: name.to_owned() };
        let answer = self.control.get_node(request).await;
        if let Some(node) = by_id(answer)?.and_then(|answer| answer.node) {
            return Ok(node);
        }
        let names = vec![name.to_owned()];
        let filters = Some(list_nodes_request::Filters { names, ..Default::default() });
        let found = self.control.list_nodes(ListNodesRequest { filters }).await?;
        only("node", name, found.into_inner().nodes)
    }

    /// Finds a service by its id, else by its name.
    pub(crate) async fn service(&mut self, name: &str) -> Result<Service, Error> {
        let service_id = name.to_owned();
        let request = GetServiceRequest { service_id, insert_defaults: false };
        let answer = self.control.get_service(request).await;
        if let Some(service) = by_id(answer)?.and_then(|answer| answer.service) {
            return Ok(service);
        }
        let names = vec![name.to_owned()];
        let filters = Some(list_services_request::Filters { names, ..Default::default() });
        let found = self.control.list_services(ListServicesRequest { filters }).await?;
        only("service", name, found.into_inner().services)
    }

    /// Finds a cluster by its id, else by its name.
    pub(crate) async fn cluster(&mut self, name: &str) -> Result<Cluster, Error> {
        let request = GetClusterRequest { cluster_id: name.to_owned() };
        let answer = self.control.get_cluster(request).await;
        if let Some(cluster) = by_id(answer)?.and_then(|answer| answer.cluster) {
            return Ok(cluster);
        }
        let names = vec![name.to_owned()];
        let filters = Some(list_clusters_request::Filters { names, ..Default::default() });
        let found = self.control.list_clusters(ListClustersRequest { filters }).await?;
        only("cluster", name, found.into_inner().clusters)
    }

    /// Finds a network by its id, else by its name.
    pub(crate) async fn network(&mut self, name: &str) -> Result<Network, Error> {
        let request = GetNetworkRequest { network_id: name.to_owned(), ..Default::default() };
        let answer = self.control.get_network(request).await;
        if let Some(network) = by_id(answer)?.and_then(|answer| answer.network) {
            return Ok(network);
        }
        let names = vec![name.to_owned()];
        let filters = Some(list_networks_request::Filters { names, ..Default::default() });
        let request = ListNetworksRequest { filters, appdata: None };
        let found = self.control.list_networks(request).await?;
        only("network", name, found.into_inner().networks)
    }

    /// Finds a secret that a service is to refer to, by its name alone.
    pub(crate) async fn secret(&mut self, name: &str) -> Result<Secret, Error> {
        let names = vec![name.to_owned()];
        let filters = Some(list_secrets_request::Filters { names, ..Default::default() });
        let found = self.control.list_secrets(ListSecretsRequest { filters }).await?;
        let found = found.into_inner().secrets.into_iter().next();
        found.ok_or_else(|| Error::usage(format!("secret not found: {name}")))
    }

    /// Finds a config likewise.
    pub(crate) async fn config(&mut self, name: &str) -> Result<Config, Error> {
        let names = vec![name.to_owned()];
        let filters = Some(list_configs_request::Filters { names, ..Default::default() });
        let found = self.control.list_configs(ListConfigsRequest { filters }).await?;
        let found = found.into_inner().configs.into_iter().next();
        found.ok_or_else(|| Error::usage(format!("config not found: {name}")))
    }
}

/// The names that ids are shown as; each is asked for once.
#[derive(Default)]
pub(crate) struct Names {
    known: BTreeMap<String, String>,
}

impl Names {
    /// The name of a node: its own, else the host's, else its id.
    pub(crate) async fn node(&mut self, client: &mut Client, id: &str) -> String {
        if !client.resolve || id.is_empty() {
            return id.to_owned();
        }
        if !self.known.contains_key(id) {
            let answer = client.control.get_node(GetNodeRequest { node_id: id.to_owned() }).await;
            let node = answer.ok().and_then(|answer| answer.into_inner().node);
            let name = node.as_ref().map_or("", crate::node::name);
            let name = if name.is_empty() { id } else { name };
            self.known.insert(id.to_owned(), name.to_owned());
        }
        self.known[id].clone()
    }

    /// The name of a service, else its id.
    pub(crate) async fn service(&mut self, client: &mut Client, id: &str) -> String {
        if !client.resolve || id.is_empty() {
            return id.to_owned();
        }
        if !self.known.contains_key(id) {
            let service_id = id.to_owned();
            let request = GetServiceRequest { service_id, insert_defaults: false };
            let answer = client.control.get_service(request).await;
            let service = answer.ok().and_then(|answer| answer.into_inner().service);
            let name = service.as_ref().map(crate::service::name).unwrap_or_default();
            let name = if name.is_empty() { id } else { name };
            self.known.insert(id.to_owned(), name.to_owned());
        }
        self.known[id].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_could_not_be_asked_has_not_said_that_there_is_none() {
        assert_eq!(by_id(Ok(Response::new(1))).expect("found"), Some(1));
        let missing = by_id::<u8>(Err(Status::not_found("node n not found")));
        assert_eq!(missing.expect("it is sought by its name"), None);
        for status in [Status::unavailable("no leader"), Status::unknown("the line was cut")] {
            let text = status.message().to_owned();
            let error = by_id::<u8>(Err(status)).expect_err("nobody knows");
            assert_eq!(error.to_string(), text);
        }
    }
}
