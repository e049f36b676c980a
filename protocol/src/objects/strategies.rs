//! Arbitrary messages of every kind: each field is sometimes absent and sometimes there.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use prost_types::{Any, Duration, Timestamp};

use crate::wire;

fn text() -> impl Strategy<Value = String> {
    "[ -~]{0,8}|é{1,3}"
}

fn id() -> impl Strategy<Value = String> {
    "[a-z0-9]{25}|[a-z.]{0,30}"
}

fn bytes() -> impl Strategy<Value = bytes::Bytes> {
    vec(any::<u8>(), 0..8).prop_map(Into::into)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

fn version() -> impl Strategy<Value = wire::Version> {
    any::<u64>().prop_map(|index| wire::Version { index })
}

fn payload() -> impl Strategy<Value = Any> {
    (text(), vec(any::<u8>(), 0..8)).prop_map(|(type_url, value)| Any { type_url, value })
}

fn meta() -> impl Strategy<Value = wire::Meta> {
    (option::of(version()), option::of(timestamp()), option::of(timestamp())).prop_map(
        |(version, created_at, updated_at)| wire::Meta { version, created_at, updated_at },
    )
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn annotations() -> impl Strategy<Value = wire::Annotations> {
    let index = (text(), text()).prop_map(|(key, val)| wire::IndexEntry { key, val });
    (text(), labels(), vec(index, 0..2)).prop_map(|(name, labels, indices)| wire::Annotations {
        name,
        labels,
        indices,
    })
}

fn driver() -> impl Strategy<Value = wire::Driver> {
    (text(), labels()).prop_map(|(name, options)| wire::Driver { name, options })
}

fn container() -> impl Strategy<Value = wire::ContainerSpec> {
    (text(), vec(text(), 0..3), labels(), option::of(duration()), option::of(any::<bool>()))
        .prop_map(|(image, args, labels, stop_grace_period, init)| wire::ContainerSpec {
            image,
            args,
            labels,
            stop_grace_period,
            init,
            ..Default::default()
        })
}

fn task_spec() -> impl Strategy<Value = wire::TaskSpec> {
    let restart = (any::<i32>(), option::of(duration()), any::<u64>()).prop_map(
        |(condition, delay, max_attempts)| wire::RestartPolicy {
            condition,
            delay,
            max_attempts,
            window: None,
        },
    );
    let runtime = container().prop_map(wire::task_spec::Runtime::Container);
    (option::of(runtime), option::of(restart), option::of(driver()), any::<u64>()).prop_map(
        |(runtime, restart, log_driver, force_update)| wire::TaskSpec {
            runtime,
            restart,
            log_driver,
            force_update,
            ..Default::default()
        },
    )
}

fn endpoint() -> impl Strategy<Value = wire::Endpoint> {
    let port = (text(), any::<i32>(), any::<u32>()).prop_map(|(name, protocol, target_port)| {
        wire::PortConfig { name, protocol, target_port, ..Default::default() }
    });
    vec(port, 0..3).prop_map(|ports| wire::Endpoint { ports, ..Default::default() })
}

fn status() -> impl Strategy<Value = wire::TaskStatus> {
    let container = (text(), any::<i32>(), any::<i32>()).prop_map(|(id, pid, exit_code)| {
        let container = wire::ContainerStatus { container_id: id, pid, exit_code };
        wire::task_status::RuntimeStatus::Container(container)
    });
    (
        (option::of(timestamp()), any::<i32>(), text(), text()),
        (option::of(container), any::<bool>(), id(), option::of(timestamp())),
    )
        .prop_map(
            |(
                (timestamp, state, message, err),
                (runtime_status, ports, applied_by, applied_at),
            )| {
                wire::TaskStatus {
                    timestamp,
                    state,
                    message,
                    err,
                    port_status: ports.then(wire::PortStatus::default),
                    applied_by,
                    applied_at,
                    runtime_status,
                }
            },
        )
}

pub(super) fn network() -> impl Strategy<Value = wire::Network> {
    let spec = (option::of(annotations()), any::<bool>()).prop_map(|(annotations, ingress)| {
        wire::NetworkSpec { annotations, ingress, ..Default::default() }
    });
    (
        (id(), option::of(meta()), option::of(spec)),
        (option::of(driver()), any::<bool>(), option::of(payload())),
    )
        .prop_map(|((id, meta, spec), (driver_state, pending_delete, extra))| wire::Network {
            id,
            meta,
            spec,
            driver_state,
            ipam: None,
            pending_delete,
            extra,
        })
}

pub(super) fn task() -> impl Strategy<Value = wire::Task> {
    let attachment = (option::of(network()), vec(text(), 0..2)).prop_map(|(network, addresses)| {
        wire::NetworkAttachment { network, addresses, ..Default::default() }
    });
    let volume = (text(), text(), text()).prop_map(|(id, source, target)| wire::VolumeAttachment {
        id,
        source,
        target,
    });
    let resource = (text(), any::<i64>()).prop_map(|(kind, value)| wire::GenericResource {
        resource: Some(wire::generic_resource::Resource::DiscreteResourceSpec(
            wire::DiscreteGenericResource { kind, value },
        )),
    });
    (
        (id(), option::of(meta()), option::of(task_spec()), id(), any::<u64>(), id()),
        (option::of(annotations()), option::of(annotations()), option::of(status())),
        (any::<i32>(), vec(attachment, 0..2), option::of(endpoint()), option::of(driver())),
        (option::of(version()), vec(resource, 0..2), option::of(version()), vec(volume, 0..2)),
    )
        .prop_map(|(what, about, how, more)| wire::Task {
            id: what.0,
            meta: what.1,
            spec: what.2,
            service_id: what.3,
            slot: what.4,
            node_id: what.5,
            annotations: about.0,
            service_annotations: about.1,
            status: about.2,
            desired_state: how.0,
            networks: how.1,
            endpoint: how.2,
            log_driver: how.3,
            spec_version: more.0,
            assigned_generic_resources: more.1,
            job_iteration: more.2,
            volumes: more.3,
        })
}

fn service_spec() -> impl Strategy<Value = wire::ServiceSpec> {
    let mode = any::<u64>().prop_map(|replicas| {
        wire::service_spec::Mode::Replicated(wire::ReplicatedService { replicas })
    });
    (option::of(annotations()), option::of(task_spec()), option::of(mode)).prop_map(
        |(annotations, task, mode)| wire::ServiceSpec {
            annotations,
            task,
            mode,
            ..Default::default()
        },
    )
}

pub(super) fn service() -> impl Strategy<Value = wire::Service> {
    let update =
        (any::<i32>(), option::of(timestamp()), text()).prop_map(|(state, started_at, message)| {
            wire::UpdateStatus { state, started_at, completed_at: None, message }
        });
    let job = (option::of(version()), option::of(timestamp())).prop_map(
        |(job_iteration, last_execution)| wire::JobStatus { job_iteration, last_execution },
    );
    (
        (id(), option::of(meta()), option::of(service_spec()), option::of(endpoint())),
        (option::of(update), option::of(service_spec()), any::<bool>(), text()),
        (option::of(version()), option::of(version()), option::of(job)),
    )
        .prop_map(|(what, how, more)| wire::Service {
            id: what.0,
            meta: what.1,
            spec: what.2,
            endpoint: what.3,
            update_status: how.0,
            previous_spec: how.1,
            pending_delete: how.2,
            allocation_error: how.3,
            spec_version: more.0,
            previous_spec_version: more.1,
            job_status: more.2,
        })
}

pub(super) fn node() -> impl Strategy<Value = wire::Node> {
    let spec = (option::of(annotations()), any::<i32>(), any::<i32>(), any::<i32>()).prop_map(
        |(annotations, desired_role, membership, availability)| wire::NodeSpec {
            annotations,
            desired_role,
            membership,
            availability,
        },
    );
    let description =
        text().prop_map(|hostname| wire::NodeDescription { hostname, ..Default::default() });
    let status = (any::<i32>(), text(), text())
        .prop_map(|(state, message, addr)| wire::NodeStatus { state, message, addr });
    let certificate = (any::<i32>(), bytes(), text())
        .prop_map(|(role, csr, cn)| wire::Certificate { role, csr, cn, ..Default::default() });
    (
        (id(), option::of(meta()), option::of(spec), option::of(description)),
        (option::of(status), option::of(certificate), any::<i32>(), any::<u32>(), any::<bool>()),
    )
        .prop_map(|(what, how)| wire::Node {
            id: what.0,
            meta: what.1,
            spec: what.2,
            description: what.3,
            status: how.0,
            certificate: how.1,
            role: how.2,
            vxlanudp_port: how.3,
            manager_status: how.4.then(wire::ManagerStatus::default),
            ..Default::default()
        })
}

pub(super) fn cluster() -> impl Strategy<Value = wire::Cluster> {
    let spec = option::of(annotations())
        .prop_map(|annotations| wire::ClusterSpec { annotations, ..Default::default() });
    let root = (bytes(), bytes(), text()).prop_map(|(ca_key, ca_cert, ca_cert_hash)| {
        wire::RootCa { ca_key, ca_cert, ca_cert_hash, ..Default::default() }
    });
    (
        (id(), option::of(meta()), option::of(spec), option::of(root)),
        (any::<u64>(), any::<bool>(), vec(text(), 0..2), any::<u32>(), any::<u32>()),
    )
        .prop_map(|(what, how)| wire::Cluster {
            id: what.0,
            meta: what.1,
            spec: what.2,
            root_ca: what.3,
            encryption_key_lamport_clock: how.0,
            fips: how.1,
            default_address_pool: how.2,
            subnet_size: how.3,
            vxlanudp_port: how.4,
            ..Default::default()
        })
}

pub(super) fn secret() -> impl Strategy<Value = wire::Secret> {
    let spec = (option::of(annotations()), bytes(), option::of(driver())).prop_map(
        |(annotations, data, driver)| wire::SecretSpec {
            annotations,
            data,
            driver,
            ..Default::default()
        },
    );
    (id(), option::of(meta()), option::of(spec), any::<bool>())
        .prop_map(|(id, meta, spec, internal)| wire::Secret { id, meta, spec, internal })
}

pub(super) fn config() -> impl Strategy<Value = wire::Config> {
    let spec = (option::of(annotations()), bytes()).prop_map(|(annotations, data)| {
        wire::ConfigSpec { annotations, data, ..Default::default() }
    });
    (id(), option::of(meta()), option::of(spec)).prop_map(|(id, meta, spec)| wire::Config {
        id,
        meta,
        spec,
    })
}

pub(super) fn resource() -> impl Strategy<Value = wire::Resource> {
    (id(), option::of(meta()), option::of(annotations()), text(), option::of(payload())).prop_map(
        |(id, meta, annotations, kind, payload)| wire::Resource {
            id,
            meta,
            annotations,
            kind,
            payload,
        },
    )
}

pub(super) fn extension() -> impl Strategy<Value = wire::Extension> {
    (id(), option::of(meta()), option::of(annotations()), text()).prop_map(
        |(id, meta, annotations, description)| wire::Extension {
            id,
            meta,
            annotations,
            description,
        },
    )
}

pub(super) fn volume() -> impl Strategy<Value = wire::Volume> {
    let spec = (option::of(annotations()), text(), any::<i32>()).prop_map(
        |(annotations, group, availability)| wire::VolumeSpec {
            annotations,
            group,
            availability,
            ..Default::default()
        },
    );
    (id(), option::of(meta()), option::of(spec), any::<bool>()).prop_map(
        |(id, meta, spec, pending_delete)| wire::Volume {
            id,
            meta,
            spec,
            pending_delete,
            ..Default::default()
        },
    )
}

/// A message with the fields present that the original always writes.
pub(super) trait Normal {
    fn normalise(&mut self);
}

pub(super) fn normal<T: Normal>(mut message: T) -> T {
    message.normalise();
    message
}

macro_rules! normal {
    ($($kind:ident: $($field:ident),*;)*) => {$(
        impl Normal for wire::$kind {
            fn normalise(&mut self) {
                self.meta.get_or_insert_default().version.get_or_insert_default();
                $(self.$field.get_or_insert_default();)*
            }
        }
    )*};
}

normal! {
    Cluster: spec, root_ca;
    Config: spec;
    Extension: annotations;
    Network: spec;
    Node: spec, status, certificate;
    Resource: annotations;
    Secret: spec;
    Service: spec;
    Task: spec, annotations, service_annotations, status;
    Volume: spec;
}
