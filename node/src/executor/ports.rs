//! The ports of a task on this host (executor.md §3).

use protocol::wire::{self, port_config::PublishMode};

/// Returns what a task announces, or nothing when it has no port of its own here.
///
/// A process shares the host's network, so nothing lies between: it listens on the published port
/// itself. A port that is left to the node is the one that the task listens on.
pub(super) fn host_ports(task: &wire::Task) -> Option<wire::PortStatus> {
    let configured = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let ports: Vec<_> = configured
        .filter(|port| port.publish_mode() == PublishMode::Host)
        .map(|port| wire::PortConfig {
            // As engines announce them.
            name: String::new(),
            published_port: match port.published_port {
                0 => port.target_port,
                published => published,
            },
            ..port.clone()
        })
        .collect();
    (!ports.is_empty()).then_some(wire::PortStatus { ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(target: u32, published: u32, mode: PublishMode) -> wire::PortConfig {
        wire::PortConfig {
            name: "web".into(),
            protocol: wire::port_config::Protocol::Udp.into(),
            target_port: target,
            published_port: published,
            publish_mode: mode.into(),
        }
    }

    #[test]
    fn ports_of_the_host_are_announced() {
        let announced = |ports: Vec<_>| {
            let endpoint = Some(wire::Endpoint { ports, ..Default::default() });
            host_ports(&wire::Task { endpoint, ..Default::default() })
        };
        let named = |port: wire::PortConfig| wire::PortConfig { name: String::new(), ..port };
        let ports = vec![
            port(80, 8080, PublishMode::Host),
            port(81, 8081, PublishMode::Ingress),
            port(82, 0, PublishMode::Host),
        ];
        let expected = [port(80, 8080, PublishMode::Host), port(82, 82, PublishMode::Host)];
        assert_eq!(announced(ports).expect("two").ports, expected.map(named));
        assert_eq!(announced(vec![port(81, 8081, PublishMode::Ingress)]), None);
        assert_eq!(announced(Vec::new()), None);
        assert_eq!(host_ports(&wire::Task::default()), None);
    }
}
