//! Published ports: `name:target[/protocol][:published[/protocol]]`.

use protocol::wire::{
    PortConfig,
    port_config::{Protocol, PublishMode},
};

use super::Invalid;

/// Reads one port; it is always published on the machine that runs the task.
pub(crate) fn port(text: &str) -> Result<PortConfig, Invalid> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(target)) = (parts.next(), parts.next()) else {
        return Err(Invalid::new("insufficient parameters in port configuration"));
    };
    let (target_port, protocol) =
        number(target).map_err(|reason| Invalid::new(format!("failed to parse port: {reason}")))?;
    let mut config = PortConfig {
        name: name.to_owned(),
        protocol: protocol as i32,
        target_port,
        published_port: 0,
        publish_mode: PublishMode::Host as i32,
    };
    if let Some(published) = parts.next() {
        let (published_port, published_protocol) = number(published)
            .map_err(|reason| Invalid::new(format!("failed to parse node port: {reason}")))?;
        if published_protocol != protocol {
            return Err(Invalid::new("protocol mismatch"));
        }
        config.published_port = published_port;
    }
    Ok(config)
}

fn number(text: &str) -> Result<(u32, Protocol), Invalid> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(Invalid::new(format!("invalid protocol string: {protocol}"))),
    };
    let number: u16 =
        number.parse().map_err(|_| Invalid::new(format!("{number} is no port from 0 to 65535")))?;
    Ok((number.into(), protocol))
}
