//! Placement constraints: `KEY == VALUE` or `KEY != VALUE` over what is known of a node
//! (`scheduler-and-allocator` §5).
//!
//! A value is compared as a whole and without regard to case; nothing in it is a pattern, although
//! the characters of patterns are allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use crate::{objects::Node, wire};

/// Where the labels that users gave a node start.
const NODE_LABELS: &str = "node.labels.";
/// Where the labels of a node's engine start.
const ENGINE_LABELS: &str = "engine.labels.";

/// One expression that a node satisfies or does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    attribute: Attribute,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Equal,
    NotEqual,
}

/// What of a node is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attribute {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    NodeLabel(String),
    EngineLabel(String),
    /// A key that nobody knows: no node satisfies it, whatever the operator.
    Unknown(String),
}

/// Why a text is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConstraint {
    /// The left side is no key.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The right side is no value.
    #[error("value '{0}' is invalid")]
    Value(String),
    /// There is no operator.
    #[error("constraint expected one operator from ==, !=")]
    Operator,
}

impl FromStr for Constraint {
    type Err = InvalidConstraint;

    fn from_str(text: &str) -> Result<Self, InvalidConstraint> {
        let (key, operator, value) = match (text.split_once("=="), text.split_once("!=")) {
            (Some((key, value)), _) => (key, Operator::Equal, value),
            (None, Some((key, value))) => (key, Operator::NotEqual, value),
            (None, None) => return Err(InvalidConstraint::Operator),
        };
        let (key, value) = (key.trim(), value.trim());
        if !is_key(key) {
            return Err(InvalidConstraint::Key(key.to_owned()));
        }
        if !is_value(value) {
            return Err(InvalidConstraint::Value(value.to_owned()));
        }
        Ok(Self { attribute: Attribute::of(key), operator, value: value.to_owned() })
    }
}

impl Constraint {
    /// Parses expressions that must all hold; the first that is none is the error.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, InvalidConstraint> {
        texts.iter().map(|text| text.parse()).collect()
    }

    /// Whether a node satisfies this.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_deref();
        let platform = description.and_then(|description| description.platform.as_ref());
        match &self.attribute {
            Attribute::Id => self.compare(node.id.as_str()),
            Attribute::Hostname => self.compare(node.hostname()),
            Attribute::Ip => self.compare_address(&node.status.addr),
            Attribute::Role => {
                let role = wire::NodeRole::try_from(node.role);
                self.compare(role.map_or("", |role| role.as_str_name()))
            }
            Attribute::Os => self.compare(platform.map_or("", |platform| &platform.os)),
            Attribute::Architecture => {
                self.compare(platform.map_or("", |platform| &platform.architecture))
            }
            Attribute::NodeLabel(name) => self.compare(node_label(node, name)),
            Attribute::EngineLabel(name) => self.compare(engine_label(node, name)),
            Attribute::Unknown(_) => false,
        }
    }

    fn compare(&self, actual: &str) -> bool {
        self.holds_if(actual.eq_ignore_ascii_case(&self.value))
    }

    /// An address equals an address, or lies in a range; any other value never holds.
    fn compare_address(&self, actual: &str) -> bool {
        let Some(range) = Range::parse(&self.value) else { return false };
        self.holds_if(actual.parse().is_ok_and(|address| range.contains(address)))
    }

    fn holds_if(&self, is_equal: bool) -> bool {
        match self.operator {
            Operator::Equal => is_equal,
            Operator::NotEqual => !is_equal,
        }
    }
}

impl Attribute {
    fn of(key: &str) -> Self {
        if let Some(name) = strip_prefix_ignoring_case(key, NODE_LABELS) {
            return Self::NodeLabel(name.to_owned());
        }
        if let Some(name) = strip_prefix_ignoring_case(key, ENGINE_LABELS) {
            return Self::EngineLabel(name.to_owned());
        }
        match key.to_ascii_lowercase().as_str() {
            "node.id" => Self::Id,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Ip,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Architecture,
            _ => Self::Unknown(key.to_owned()),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
        };
        write!(formatter, "{} {operator} {}", self.attribute, self.value)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => formatter.write_str("node.id"),
            Self::Hostname => formatter.write_str("node.hostname"),
            Self::Ip => formatter.write_str("node.ip"),
            Self::Role => formatter.write_str("node.role"),
            Self::Os => formatter.write_str("node.platform.os"),
            Self::Architecture => formatter.write_str("node.platform.arch"),
            Self::NodeLabel(name) => write!(formatter, "{NODE_LABELS}{name}"),
            Self::EngineLabel(name) => write!(formatter, "{ENGINE_LABELS}{name}"),
            Self::Unknown(key) => formatter.write_str(key),
        }
    }
}

/// A label of nodes, as a spread preference names it: `node.labels.rack`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(Origin, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Node,
    Engine,
}

impl Label {
    /// The label that a descriptor names, if it names one (`scheduler-and-allocator` §6.1).
    pub fn named(descriptor: &str) -> Option<Self> {
        match Attribute::of(descriptor) {
            Attribute::NodeLabel(name) => Some(Self(Origin::Node, name)),
            Attribute::EngineLabel(name) => Some(Self(Origin::Engine, name)),
            Attribute::Id
            | Attribute::Hostname
            | Attribute::Ip
            | Attribute::Role
            | Attribute::Os
            | Attribute::Architecture
            | Attribute::Unknown(_) => None,
        }
    }

    /// Its value on a node; empty when the node lacks it.
    pub fn of<'n>(&self, node: &'n Node) -> &'n str {
        match self {
            Self(Origin::Node, name) => node_label(node, name),
            Self(Origin::Engine, name) => engine_label(node, name),
        }
    }
}

fn node_label<'n>(node: &'n Node, name: &str) -> &'n str {
    let annotations = node.spec.annotations.as_ref();
    let label = annotations.and_then(|annotations| annotations.labels.get(name));
    label.map_or("", String::as_str)
}

fn engine_label<'n>(node: &'n Node, name: &str) -> &'n str {
    let engine = node.description.as_ref().and_then(|known| known.engine.as_ref());
    engine.and_then(|engine| engine.labels.get(name)).map_or("", String::as_str)
}

/// The addresses that share a prefix. IPv4 addresses are kept as the IPv6 addresses they map to,
/// so that both spellings of one address are equal.
struct Range {
    bits: u128,
    mask: u128,
}

impl Range {
    /// Reads an address, which is a range of one, or an address and the length of its prefix.
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            None => (text.parse().ok()?, 128),
            Some((address, length)) => {
                let address: IpAddr = address.parse().ok()?;
                let length: u32 = length.parse().ok()?;
                let unused_bits = if address.is_ipv4() { 96 } else { 0 };
                (address, length.checked_add(unused_bits).filter(|length| *length <= 128)?)
            }
        };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Some(Self { bits: bits(address) & mask, mask })
    }

    fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv6Addr::to_bits(address.to_ipv6_mapped()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    begins && bytes.len() > 0 && bytes.all(goes_on)
}

fn is_value(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b":-_ \t\n\r\x0c.*()?+[]\\^$|/".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The rest of `text` after a prefix, if there is a rest.
fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests;
