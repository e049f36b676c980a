//! A small cluster whose allocator writes at once, for the tables of every area.

mod actor;
mod addresses;
mod following;
mod intake;
mod networks;
mod nodes;
mod numbers;
mod ports;
mod properties;
mod services;
mod tasks;

use std::sync::Arc;

use prost_types::Timestamp;
use protocol::{
    objects::{Cluster, Network, Node, Object, Service, Task, TaskState, TaskStatus},
    wire::{
        self, Annotations, EndpointSpec, IpamConfig, IpamOptions, NetworkAttachmentConfig,
        NetworkSpec, PortConfig, ServiceSpec, TaskSpec, ipam_config::AddressFamily,
        port_config::PublishMode,
    },
};

use super::logic::{board::Board, decision::write};
use crate::store::{Transaction, View};

const NOW: Timestamp = Timestamp { seconds: 5, nanos: 0 };

fn named(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Default::default() }
}

fn network(id: &str, change: impl FnOnce(&mut NetworkSpec)) -> Network {
    let mut spec = NetworkSpec { annotations: Some(named(id)), ..Default::default() };
    change(&mut spec);
    wire::Network { id: id.to_owned(), spec: Some(spec), ..Default::default() }.into()
}

fn overlay(id: &str) -> Network {
    network(id, |_| ())
}

fn ingress(id: &str) -> Network {
    network(id, |spec| spec.ingress = true)
}

fn driven(id: &str, driver: &str) -> Network {
    network(id, |spec| {
        spec.driver_config = Some(wire::Driver { name: driver.to_owned(), ..Default::default() });
    })
}

/// A network with configurations `subnet[ range][ gateway]` that may be empty.
fn configured(id: &str, configs: &[(&str, &str, &str)]) -> Network {
    let configs = configs.iter().map(|(subnet, range, gateway)| IpamConfig {
        family: AddressFamily::Ipv4.into(),
        subnet: (*subnet).to_owned(),
        range: (*range).to_owned(),
        gateway: (*gateway).to_owned(),
        ..Default::default()
    });
    let ipam = IpamOptions { configs: configs.collect(), ..Default::default() };
    network(id, |spec| spec.ipam = Some(ipam))
}

/// A port `name:target:published`, published on every node.
fn port(name: &str, target_port: u32, published_port: u32) -> PortConfig {
    PortConfig { name: name.to_owned(), target_port, published_port, ..Default::default() }
}

fn on_host(port: PortConfig) -> PortConfig {
    PortConfig { publish_mode: PublishMode::Host.into(), ..port }
}

fn asking(networks: &[&str]) -> Vec<NetworkAttachmentConfig> {
    let wish =
        |id: &&str| NetworkAttachmentConfig { target: (*id).to_owned(), ..Default::default() };
    networks.iter().map(wish).collect()
}

/// A service with ports, in networks.
fn service(id: &str, ports: &[PortConfig], networks: &[&str]) -> Service {
    let endpoint = EndpointSpec { ports: ports.to_vec(), ..Default::default() };
    let spec = ServiceSpec {
        annotations: Some(named(id)),
        endpoint: (!ports.is_empty()).then_some(endpoint),
        task: Some(TaskSpec { networks: asking(networks), ..Default::default() }),
        ..Default::default()
    };
    wire::Service { id: id.to_owned(), spec: Some(spec), ..Default::default() }.into()
}

/// A new task of a service, or of none.
fn task(id: &str, service: &str) -> Task {
    let status = TaskStatus { message: "created".into(), ..TaskStatus::default() };
    Task { id: id.into(), service_id: service.into(), status, ..Task::default() }
}

/// A new task in networks.
fn attached(id: &str, service: &str, networks: &[&str]) -> Task {
    let spec = Arc::new(TaskSpec { networks: asking(networks), ..Default::default() });
    Task { spec, ..task(id, service) }
}

fn node(id: &str) -> Node {
    wire::Node { id: id.to_owned(), ..Default::default() }.into()
}

/// The settings of a cluster with address pools.
fn cluster(pools: &[&str], subnet_size: u32) -> Cluster {
    let spec = wire::ClusterSpec { annotations: Some(named("default")), ..Default::default() };
    let default_address_pool = pools.iter().map(|pool| (*pool).to_owned()).collect();
    let cluster = wire::Cluster {
        id: "c".to_owned(),
        spec: Some(spec),
        default_address_pool,
        subnet_size,
        ..Default::default()
    };
    cluster.into()
}

/// A store, and an allocator that follows it.
struct Rig {
    view: View,
    board: Board,
}

impl Rig {
    fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut rig = Self { view: View::default(), board: Board::default() };
        rig.board.begin(View::default());
        rig.create(objects);
        rig
    }

    /// A new leader's allocator, which sees the store for the first time.
    fn restarted(&self) -> Self {
        let mut board = Board::default();
        board.begin(self.view.clone());
        Self { view: self.view.clone(), board }
    }

    /// Somebody writes.
    fn commit(&mut self, write: impl FnOnce(&mut Transaction)) {
        let mut transaction = Transaction::begin(&self.view);
        write(&mut transaction);
        let sealed = transaction.seal(self.view.index() + 1, NOW);
        self.view = sealed.view;
        self.board.follow(self.view.clone(), &sealed.changes);
    }

    /// Adds objects, and gives them what they need.
    fn create(&mut self, objects: impl IntoIterator<Item = Object>) {
        self.commit(|head| {
            objects.into_iter().for_each(|object| head.create(object).unwrap());
        });
        self.settle();
    }

    /// Decides and writes until nothing is due; returns how many objects were written.
    fn settle(&mut self) -> usize {
        let mut written = 0;
        while !self.board.is_idle() {
            let view = self.view.clone();
            let decisions = self.board.decide(&view, NOW, 7).decisions;
            written += decisions.len();
            assert!(written < 100_000, "it comes to an end");
            let mut failed = Vec::new();
            self.commit(|head| failed = write(head, decisions).unwrap());
            assert!(failed.is_empty(), "nobody else writes");
        }
        self.board.verify();
        assert!(self.board.overlooked().is_empty(), "nothing is overlooked");
        written
    }

    fn network(&self, id: &str) -> Arc<Network> {
        self.view.network(&id.into()).expect("the network is there").clone()
    }

    fn service(&self, id: &str) -> Arc<Service> {
        self.view.service(&id.into()).expect("the service is there").clone()
    }

    fn task(&self, id: &str) -> Arc<Task> {
        self.view.task(&id.into()).expect("the task is there").clone()
    }

    fn node(&self, id: &str) -> Arc<Node> {
        self.view.node(&id.into()).expect("the node is there").clone()
    }

    fn change_task(&mut self, id: &str, change: impl FnOnce(&mut Task)) {
        let mut task = Task::clone(&self.task(id));
        change(&mut task);
        self.commit(|head| head.update(task).unwrap());
        self.settle();
    }

    /// Lets a task be in a state.
    fn observe(&mut self, id: &str, state: TaskState) {
        self.change_task(id, |task| task.status.state = state);
    }

    fn change_service(&mut self, id: &str, change: impl FnOnce(&mut ServiceSpec)) {
        let mut service = Service::clone(&self.service(id));
        change(Arc::make_mut(&mut service.spec));
        self.commit(|head| head.update(service).unwrap());
        self.settle();
    }

    fn remove(&mut self, object: impl Into<Object>) {
        let object = object.into();
        self.commit(|head| head.remove(object.kind(), object.id()).unwrap());
        self.settle();
    }

    /// `subnet gateway` of a network, for each of its configurations.
    fn subnets(&self, id: &str) -> Vec<String> {
        let network = self.network(id);
        let configs = network.body.ipam.iter().flat_map(|ipam| &ipam.configs);
        configs.map(|config| format!("{} {}", config.subnet, config.gateway)).collect()
    }

    /// The published ports of a service, in order.
    fn ports(&self, id: &str) -> Vec<u32> {
        let service = self.service(id);
        let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        ports.map(|port| port.published_port).collect()
    }

    /// `network address` of a service, in order.
    fn virtual_addresses(&self, id: &str) -> Vec<String> {
        let service = self.service(id);
        let all = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        all.map(|address| format!("{} {}", address.network_id, address.addr)).collect()
    }

    /// `network addresses` of a task, in order.
    fn places(&self, id: &str) -> Vec<String> {
        self.task(id).networks.iter().map(place).collect()
    }

    /// `network addresses` of a node, in order.
    fn node_places(&self, id: &str) -> Vec<String> {
        self.node(id).rest.attachments.iter().map(place).collect()
    }

    /// The state of a task, and what it is told.
    fn state(&self, id: &str) -> (TaskState, String) {
        let status = &self.task(id).status;
        (status.state, status.err.to_string())
    }
}

fn place(place: &wire::NetworkAttachment) -> String {
    let id = place.network.as_ref().map_or("", |network| &network.id);
    format!("{id} {}", place.addresses.join(" "))
}
