//! Messages as JSON: the names of the protocol for fields and enum values, times as RFC 3339,
//! durations in seconds, bytes in base64, whole numbers as numbers but for the ids of raft. Fields
//! that are not set but have a value all the same are there, so that the shape of an answer does not
//! depend on its content. Secrets are not.

use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, ReflectMessage};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value, json};

use crate::{error::Error, text::human};

/// What no page shows: passwords of registries, and those that admitted nodes of old.
const HIDDEN: [&str; 2] = [
    "docker.swarmkit.v1.ContainerSpec.PullOptions.registry_auth",
    "docker.swarmkit.v1.AcceptancePolicy.RoleAdmissionPolicy.Secret.data",
];

/// The ids of raft are random and use all 64 bits, of which many programs keep 53 of a number.
const RAFT_ID: &str = "raft_id";

/// The messages that are shown, by their full names.
fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(protocol::DESCRIPTORS).expect("the build wrote the descriptors")
    })
}

/// Returns a message of the protocol it shares with SwarmKit, by its short name, as JSON.
pub(crate) fn of(name: &str, message: &impl Message) -> Value {
    named(&format!("docker.swarmkit.v1.{name}"), message)
}

/// Returns a message of our own part of the protocol likewise.
pub(crate) fn ours(name: &str, message: &impl Message) -> Value {
    named(&format!("swarm.v1.{name}"), message)
}

fn named(name: &str, message: &impl Message) -> Value {
    let descriptor = pool().get_message_by_name(name).expect("only messages of ours are shown");
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor, &*bytes).expect("it was just encoded");
    object(&message)
}

/// Returns several messages of one kind.
pub(crate) fn all<M: Message>(name: &str, messages: &[M]) -> Value {
    messages.iter().map(|message| of(name, message)).collect()
}

/// Writes a value to standard output.
pub(crate) fn print(value: &Value) -> Result<(), Error> {
    crate::text::print(&format!("{value:#}\n"))
}

fn object(message: &DynamicMessage) -> Value {
    if let Some(value) = well_known(message) {
        return value;
    }
    let descriptor = message.descriptor();
    let fields = descriptor.fields().filter(|field| {
        // A part that is not there is left out; a plain value is always there.
        (!field.supports_presence() || message.has_field(field))
            && !HIDDEN.contains(&field.full_name())
    });
    let pairs = fields.map(|field| {
        let value = message.get_field(&field);
        (field.name().to_owned(), shown(&value, &field))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Messages that stand for one value.
fn well_known(message: &DynamicMessage) -> Option<Value> {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let time: Timestamp = message.transcode_to().ok()?;
            Some(Value::String(human::absolute(&time)))
        }
        "google.protobuf.Duration" => {
            let duration: Duration = message.transcode_to().ok()?;
            Some(Value::String(human::seconds(&duration)))
        }
        "google.protobuf.BoolValue" => Some(json!(message.get_field_by_name("value")?.as_bool()?)),
        _ => None,
    }
}

fn shown(value: &prost_reflect::Value, field: &FieldDescriptor) -> Value {
    use prost_reflect::Value as Reflected;

    match value {
        Reflected::Bool(value) => json!(value),
        Reflected::I32(value) => json!(value),
        Reflected::I64(value) => json!(value),
        Reflected::U32(value) => json!(value),
        Reflected::U64(value) if field.name() == RAFT_ID => json!(value.to_string()),
        Reflected::U64(value) => json!(value),
        Reflected::F32(value) => json!(value),
        Reflected::F64(value) => json!(value),
        Reflected::String(value) => json!(value),
        Reflected::Bytes(value) => json!(STANDARD.encode(value)),
        Reflected::EnumNumber(number) => enum_name(*number, field),
        Reflected::Message(message) => object(message),
        Reflected::List(values) => values.iter().map(|value| shown(value, field)).collect(),
        Reflected::Map(values) => {
            let kind = field.kind();
            let entry = kind.as_message().expect("the entries of a map are messages");
            let field = entry.map_entry_value_field();
            // Their order in memory is random; in JSON it is that of the keys.
            let pairs = values.iter().map(|(key, value)| (key_text(key), shown(value, &field)));
            Value::Object(pairs.collect())
        }
    }
}

fn enum_name(number: i32, field: &FieldDescriptor) -> Value {
    let kind = field.kind();
    let value = kind.as_enum().and_then(|descriptor| descriptor.get_value(number));
    let name = value.map(|value| value.name().to_owned());
    name.map_or_else(|| json!(number), Value::String)
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
