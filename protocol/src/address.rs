//! Where a manager is reached: a host, by name or number, and a port.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Names of hosts are no longer (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Where a manager is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Ip(IpAddr),
}

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a manager: it must be a host with a port, as in 10.0.0.1:4242")]
pub struct InvalidAddress(pub String);

impl Address {
    /// Whether it only says that its owner listens on all addresses it has: to whoever reads that,
    /// it would mean its own machine.
    pub fn is_everywhere(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.to_canonical().is_unspecified(),
            Host::Name(_) => false,
        }
    }

    /// Returns where its owner is reached that calls from `ip`: there, if it listens everywhere.
    #[must_use]
    pub fn seen_from(self, ip: IpAddr) -> Self {
        if self.is_everywhere() { Self { host: Host::Ip(ip), ..self } } else { self }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (Host::Ip(address.ip()), address.port()),
            Err(_) => {
                let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                let is_host = (1..=HOST_BYTES_MAX).contains(&host.len());
                if !is_host || is_numeric(host) || !host.bytes().all(is_name) {
                    return Err(invalid());
                }
                (Host::Name(host.to_owned()), port.parse::<u16>().map_err(|_| invalid())?)
            }
        };
        if port == 0 { Err(invalid()) } else { Ok(Self { host, port }) }
    }
}

/// Whether resolvers read a name as an IPv4 address: `0` and `0x0.0` are everywhere.
fn is_numeric(name: &str) -> bool {
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.to_ascii_lowercase().split('.').all(|label| {
        label.bytes().all(|byte| byte.is_ascii_digit())
            || label.strip_prefix("0x").is_some_and(is_hexadecimal)
    })
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
            Host::Ip(ip) => write!(formatter, "{}", SocketAddr::new(*ip, self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn what_is_nearly_an_address_does_not_panic(text in r"[\[\]:a-z0-9._%/@-]{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }

    #[test]
    fn addresses_are_hosts_with_a_port() {
        let from = IpAddr::from([10, 0, 0, 7]);
        for (text, is_everywhere, seen) in [
            ("10.0.0.1:4242", false, "10.0.0.1:4242"),
            ("0.0.0.0:4242", true, "10.0.0.7:4242"),
            ("[::]:4242", true, "10.0.0.7:4242"),
            ("[::ffff:0.0.0.0]:4242", true, "10.0.0.7:4242"),
            ("[::ffff:10.0.0.1]:4242", false, "[::ffff:10.0.0.1]:4242"),
            ("[fd00::1]:1", false, "[fd00::1]:1"),
            ("0xen.example:1", false, "0xen.example:1"),
            ("4th:4242", false, "4th:4242"),
            ("manager-1.example:65535", false, "manager-1.example:65535"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.is_everywhere(), is_everywhere, "{text}");
            assert_eq!(address.to_string(), text);
            assert_eq!(address.seen_from(from).to_string(), seen, "{text}");
        }
        for text in [
            "",
            "4242",
            ":4242",
            "host:",
            "host:0",
            "host:65536",
            "10.0.0.1:0",
            "a b:1",
            "fd00::1:x",
            "http://host:1",
            "a@b:1",
            "::1:1",
            "10.0.0.1",
            "[host]:1",
            "0:4242",
            "2130706433:4242",
            "0.0:4242",
            "0x0.0:4242",
            "10.0.0.256:4242",
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress(text.to_owned())), "{text}");
        }
    }
}
