//! `docker.swarmkit.v1.Control`: the calls about clusters, nodes, services and tasks.

use std::sync::Arc;

use actors::{
    control::{
        Error, list,
        logic::{
            cluster, extension,
            node::{self, Managers},
            resource,
            service::{self, Direction},
            service_defaults, service_status, task,
        },
        validate::{self, ValidCluster, ValidService},
    },
    environment::Clock,
    store::{Transaction, View},
};
use prost::Message;
use prost_types::Timestamp;
use protocol::{
    id::{ExtensionId, ResourceId, ServiceId},
    wire::{self, control_server, update_service_request::Rollback},
};
use rand::rngs::OsRng;
use tonic::{Request, Response, Status};

use super::{
    ANSWER_BYTES_MAX, Leadership,
    not_offered::not_offered,
    status::{leaderless, refused, too_many, unwritten},
};
use crate::identity::certificate_expiry;

/// What a field costs beside its content, at most: its tag and its length.
const FIELD_BYTES_MAX: usize = 6;

/// Answers the calls about the cluster: reads from a view that is surely current, writes as one
/// transaction each.
#[derive(Clone)]
pub struct Control {
    leadership: Leadership,
    clock: Arc<dyn Clock>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Control {
    /// Answers as the leader, or not at all.
    pub fn new(leadership: Leadership, clock: Arc<dyn Clock>) -> Self {
        Self { leadership, clock }
    }

    async fn read(&self) -> Result<View, Status> {
        self.leadership.current().await.map_err(leaderless)
    }

    /// The managers. Not to know them is not the same as that there are none.
    async fn managers(&self) -> Result<Managers, Status> {
        self.leadership.managers().await.map_err(leaderless)
    }

    /// Runs one transaction, and returns what is committed after it.
    async fn write(
        &self,
        change: impl FnOnce(&mut Transaction) -> Result<(), Error> + Send + 'static,
    ) -> Result<View, Status> {
        let store = &self.leadership.store;
        store.transact(change).await.map_err(|error| unwritten(&error))?;
        Ok(store.view())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Finds an object and gives it its place in an answer.
fn answer<'a, T: 'a, W, R>(
    found: Result<&'a Arc<T>, Error>,
    shown: impl FnOnce(&'a T) -> W,
    place: impl FnOnce(Option<W>) -> R,
) -> Answer<R> {
    let found = found.map_err(|error| refused(&error))?;
    Ok(Response::new(place(Some(shown(found)))))
}

/// Gives the objects of a list their place in an answer, which holds so much and no more; `by` says
/// how to ask for fewer.
fn all<T, W: Message>(
    found: Vec<&Arc<T>>,
    shown: impl Fn(&T) -> W,
    kind: &str,
    by: &str,
) -> Result<Vec<W>, Status> {
    let count = found.len();
    let mut bytes = 0;
    let mut gathered = Vec::with_capacity(count);
    for object in found {
        let shown = shown(object);
        bytes += shown.encoded_len() + FIELD_BYTES_MAX;
        if bytes > ANSWER_BYTES_MAX {
            return Err(too_many(count, kind, by));
        }
        gathered.push(shown);
    }
    Ok(gathered)
}

fn checked<T>(verdict: Result<T, Error>) -> Result<T, Status> {
    verdict.map_err(|error| refused(&error))
}

#[tonic::async_trait]
impl control_server::Control for Control {
    async fn get_cluster(
        &self,
        request: Request<wire::GetClusterRequest>,
    ) -> Answer<wire::GetClusterResponse> {
        let view = self.read().await?;
        let found = cluster::get(&view, &request.into_inner().cluster_id);
        answer(found, cluster::shown, |cluster| wire::GetClusterResponse { cluster })
    }

    async fn list_clusters(
        &self,
        request: Request<wire::ListClustersRequest>,
    ) -> Answer<wire::ListClustersResponse> {
        let view = self.read().await?;
        let found = list::clusters(&view, request.get_ref());
        let clusters = all(found, cluster::shown, "clusters", "name, id or label")?;
        Ok(Response::new(wire::ListClustersResponse { clusters }))
    }

    async fn update_cluster(
        &self,
        request: Request<wire::UpdateClusterRequest>,
    ) -> Answer<wire::UpdateClusterResponse> {
        let wire::UpdateClusterRequest { cluster_id: id, cluster_version, spec, rotation } =
            request.into_inner();
        let version = checked(validate::version(&id, cluster_version))?;
        let valid = checked(ValidCluster::try_from(spec))?;
        let (updated, rotation) = (id.clone(), rotation.unwrap_or_default());
        let now = self.now();
        let change = move |transaction: &mut Transaction| {
            cluster::update(transaction, &id, version, valid, rotation, now, &mut OsRng)
        };
        let view = self.write(change).await?;
        answer(cluster::get(&view, &updated), cluster::shown, |cluster| {
            wire::UpdateClusterResponse { cluster }
        })
    }

    async fn get_node(
        &self,
        request: Request<wire::GetNodeRequest>,
    ) -> Answer<wire::GetNodeResponse> {
        let view = self.read().await?;
        let managers = self.managers().await?;
        let found = node::get(&view, &request.into_inner().node_id);
        answer(found, |found| node::shown(found, &managers), |node| wire::GetNodeResponse { node })
    }

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Answer<wire::ListNodesResponse> {
        let view = self.read().await?;
        let managers = self.managers().await?;
        let found = list::nodes(&view, request.get_ref());
        let by = "name, id, role, membership or label";
        let nodes = all(found, |found| node::shown(found, &managers), "nodes", by)?;
        Ok(Response::new(wire::ListNodesResponse { nodes }))
    }

    async fn update_node(
        &self,
        request: Request<wire::UpdateNodeRequest>,
    ) -> Answer<wire::UpdateNodeResponse> {
        let wire::UpdateNodeRequest { node_id: id, node_version, spec } = request.into_inner();
        let version = checked(validate::version(&id, node_version))?;
        let spec = checked(spec.ok_or_else(Error::incomplete))?;
        let managers = self.managers().await?;
        let (updated, known) = (id.clone(), managers.clone());
        let change = move |transaction: &mut Transaction| {
            node::update(transaction, &id, version, spec, &known)
        };
        let view = self.write(change).await?;
        let found = node::get(&view, &updated);
        answer(
            found,
            |found| node::shown(found, &managers),
            |node| wire::UpdateNodeResponse { node },
        )
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Answer<wire::RemoveNodeResponse> {
        let wire::RemoveNodeRequest { node_id: id, force } = request.into_inner();
        let (managers, now) = (self.managers().await?, self.now());
        let change = move |transaction: &mut Transaction| {
            node::remove(transaction, &id, force, &managers, certificate_expiry, now)
        };
        self.write(change).await?;
        Ok(Response::new(wire::RemoveNodeResponse {}))
    }

    async fn create_service(
        &self,
        request: Request<wire::CreateServiceRequest>,
    ) -> Answer<wire::CreateServiceResponse> {
        let valid = checked(ValidService::try_from(request.into_inner().spec))?;
        checked(service::check_offered(&valid))?;
        let (id, now) = (ServiceId::random(&mut OsRng), self.now());
        let created = id.clone();
        let change =
            move |transaction: &mut Transaction| service::create(transaction, id, &valid, now);
        let view = self.write(change).await?;
        let found = service::get(&view, created.as_str());
        answer(found, wire::Service::from, |service| wire::CreateServiceResponse { service })
    }

    async fn get_service(
        &self,
        request: Request<wire::GetServiceRequest>,
    ) -> Answer<wire::GetServiceResponse> {
        let wire::GetServiceRequest { service_id: id, insert_defaults } = request.into_inner();
        let view = self.read().await?;
        let shown = |service| {
            let mut shown = wire::Service::from(service);
            if insert_defaults {
                shown.spec = shown.spec.map(service_defaults::filled);
            }
            shown
        };
        answer(service::get(&view, &id), shown, |service| wire::GetServiceResponse { service })
    }

    async fn list_services(
        &self,
        request: Request<wire::ListServicesRequest>,
    ) -> Answer<wire::ListServicesResponse> {
        let view = self.read().await?;
        let found = list::services(&view, request.get_ref());
        let by = "name, id, runtime or label";
        let services = all(found, |found| wire::Service::from(found), "services", by)?;
        Ok(Response::new(wire::ListServicesResponse { services }))
    }

    async fn list_service_statuses(
        &self,
        request: Request<wire::ListServiceStatusesRequest>,
    ) -> Answer<wire::ListServiceStatusesResponse> {
        let view = self.read().await?;
        let ids = &request.get_ref().services;
        let statuses = ids.iter().map(|id| service_status::count(&view, id)).collect();
        Ok(Response::new(wire::ListServiceStatusesResponse { statuses }))
    }

    async fn update_service(
        &self,
        request: Request<wire::UpdateServiceRequest>,
    ) -> Answer<wire::UpdateServiceResponse> {
        let direction = match request.get_ref().rollback() {
            Rollback::None => Direction::Forward,
            Rollback::Previous => Direction::Back,
        };
        let wire::UpdateServiceRequest { service_id: id, service_version, spec, .. } =
            request.into_inner();
        let version = checked(validate::version(&id, service_version))?;
        let valid = checked(ValidService::try_from(spec))?;
        let (updated, now) = (id.clone(), self.now());
        let change = move |transaction: &mut Transaction| {
            service::update(transaction, &id, version, &valid, direction, now)
        };
        let view = self.write(change).await?;
        let found = service::get(&view, &updated);
        answer(found, wire::Service::from, |service| wire::UpdateServiceResponse { service })
    }

    async fn remove_service(
        &self,
        request: Request<wire::RemoveServiceRequest>,
    ) -> Answer<wire::RemoveServiceResponse> {
        let id = request.into_inner().service_id;
        self.write(move |transaction| service::remove(transaction, &id)).await?;
        Ok(Response::new(wire::RemoveServiceResponse {}))
    }

    async fn get_task(
        &self,
        request: Request<wire::GetTaskRequest>,
    ) -> Answer<wire::GetTaskResponse> {
        let view = self.read().await?;
        let found = task::get(&view, &request.into_inner().task_id);
        answer(found, wire::Task::from, |task| wire::GetTaskResponse { task })
    }

    async fn list_tasks(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Answer<wire::ListTasksResponse> {
        let view = self.read().await?;
        let found = list::tasks(&view, request.get_ref());
        let by = "service, node, desired state, name, id or label";
        let tasks = all(found, |found| wire::Task::from(found), "tasks", by)?;
        Ok(Response::new(wire::ListTasksResponse { tasks }))
    }

    async fn remove_task(
        &self,
        request: Request<wire::RemoveTaskRequest>,
    ) -> Answer<wire::RemoveTaskResponse> {
        let id = request.into_inner().task_id;
        self.write(move |transaction| task::remove(transaction, &id)).await?;
        Ok(Response::new(wire::RemoveTaskResponse {}))
    }

    async fn create_extension(
        &self,
        request: Request<wire::CreateExtensionRequest>,
    ) -> Answer<wire::CreateExtensionResponse> {
        let (id, request) = (ExtensionId::random(&mut OsRng), request.into_inner());
        let created = id.clone();
        let change =
            move |transaction: &mut Transaction| extension::create(transaction, &id, request);
        let view = self.write(change).await?;
        let found = extension::get(&view, created.as_str());
        answer(found, wire::Extension::from, |extension| wire::CreateExtensionResponse {
            extension,
        })
    }

    async fn get_extension(
        &self,
        request: Request<wire::GetExtensionRequest>,
    ) -> Answer<wire::GetExtensionResponse> {
        let view = self.read().await?;
        let found = extension::get(&view, &request.into_inner().extension_id);
        answer(found, wire::Extension::from, |extension| wire::GetExtensionResponse { extension })
    }

    async fn remove_extension(
        &self,
        request: Request<wire::RemoveExtensionRequest>,
    ) -> Answer<wire::RemoveExtensionResponse> {
        let id = request.into_inner().extension_id;
        self.write(move |transaction| extension::remove(transaction, &id)).await?;
        Ok(Response::new(wire::RemoveExtensionResponse {}))
    }

    async fn create_resource(
        &self,
        request: Request<wire::CreateResourceRequest>,
    ) -> Answer<wire::CreateResourceResponse> {
        let (id, request) = (ResourceId::random(&mut OsRng), request.into_inner());
        let created = id.clone();
        let change =
            move |transaction: &mut Transaction| resource::create(transaction, &id, request);
        let view = self.write(change).await?;
        let found = resource::get(&view, created.as_str());
        answer(found, wire::Resource::from, |resource| wire::CreateResourceResponse { resource })
    }

    async fn get_resource(
        &self,
        request: Request<wire::GetResourceRequest>,
    ) -> Answer<wire::GetResourceResponse> {
        let view = self.read().await?;
        let found = resource::get(&view, &request.into_inner().resource_id);
        answer(found, wire::Resource::from, |resource| wire::GetResourceResponse { resource })
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Answer<wire::ListResourcesResponse> {
        let view = self.read().await?;
        let found = list::resources(&view, request.get_ref());
        let by = "kind, name, id or label";
        let resources = all(found, |found| wire::Resource::from(found), "resources", by)?;
        Ok(Response::new(wire::ListResourcesResponse { resources }))
    }

    async fn update_resource(
        &self,
        request: Request<wire::UpdateResourceRequest>,
    ) -> Answer<wire::UpdateResourceResponse> {
        let request = request.into_inner();
        let id = request.resource_id.clone();
        let view = self.write(move |transaction| resource::update(transaction, request)).await?;
        let found = resource::get(&view, &id);
        answer(found, wire::Resource::from, |resource| wire::UpdateResourceResponse { resource })
    }

    async fn remove_resource(
        &self,
        request: Request<wire::RemoveResourceRequest>,
    ) -> Answer<wire::RemoveResourceResponse> {
        let id = request.into_inner().resource_id;
        self.write(move |transaction| resource::remove(transaction, &id)).await?;
        Ok(Response::new(wire::RemoveResourceResponse {}))
    }

    not_offered! {
        "networks":
            create_network(CreateNetworkRequest) -> CreateNetworkResponse
            get_network(GetNetworkRequest) -> GetNetworkResponse
            list_networks(ListNetworksRequest) -> ListNetworksResponse
            remove_network(RemoveNetworkRequest) -> RemoveNetworkResponse;
        "secrets":
            create_secret(CreateSecretRequest) -> CreateSecretResponse
            get_secret(GetSecretRequest) -> GetSecretResponse
            list_secrets(ListSecretsRequest) -> ListSecretsResponse
            remove_secret(RemoveSecretRequest) -> RemoveSecretResponse
            update_secret(UpdateSecretRequest) -> UpdateSecretResponse;
        "configs":
            create_config(CreateConfigRequest) -> CreateConfigResponse
            get_config(GetConfigRequest) -> GetConfigResponse
            list_configs(ListConfigsRequest) -> ListConfigsResponse
            remove_config(RemoveConfigRequest) -> RemoveConfigResponse
            update_config(UpdateConfigRequest) -> UpdateConfigResponse;
        "volumes":
            create_volume(CreateVolumeRequest) -> CreateVolumeResponse
            get_volume(GetVolumeRequest) -> GetVolumeResponse
            list_volumes(ListVolumesRequest) -> ListVolumesResponse
            remove_volume(RemoveVolumeRequest) -> RemoveVolumeResponse
            update_volume(UpdateVolumeRequest) -> UpdateVolumeResponse;
    }
}
