//! Tasks as bytes, without the copies that making a message of the wire would take: there are many
//! of them, and their specs are large.

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, message},
};

use super::{Object, Task, TaskStatus};
use crate::wire::{self, StoreActionKind};

/// The fields of a task, and of an action, that are messages of their own here.
const STATUS: u32 = 9;
const TARGET: u32 = 4;

impl Object {
    /// Appends the change to the store that does `action` to it: what [`Object::to_action`] is,
    /// encoded.
    pub fn encode_action(&self, action: StoreActionKind, out: &mut Vec<u8>) {
        let Self::Task(task) = self else {
            let action = self.to_action(action);
            return action.encode(out).expect("a vector grows");
        };
        number(1, u64::try_from(i32::from(action)).unwrap_or_default(), out);
        nested(TARGET, out, |out| task.encode(out));
    }
}

macro_rules! by_message {
    ($($kind:ident),*) => {$(
        impl super::$kind {
            /// Appends the object as a message of the wire.
            pub fn encode(&self, out: &mut Vec<u8>) {
                wire::$kind::from(self).encode(out).expect("a vector grows");
            }
        }
    )*};
}

by_message! { Cluster, Config, Extension, Network, Node, Resource, Secret, Service, Volume }

impl Task {
    /// Appends the task as a message of the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        text(1, self.id.as_str(), out);
        message::encode(2, &wire::Meta::from(self.meta), out);
        message::encode(3, &*self.spec, out);
        text(4, self.service_id.as_str(), out);
        number(5, self.slot, out);
        text(6, self.node_id.as_str(), out);
        match &self.annotations {
            Some(annotations) => message::encode(7, &**annotations, out),
            None => message::encode(7, &wire::Annotations::default(), out),
        }
        message::encode(8, &*self.service_annotations, out);
        nested(STATUS, out, |out| self.status.encode(out));
        state(10, self.desired_state.number(), out);
        self.networks.iter().for_each(|network| message::encode(11, network, out));
        self.endpoint.iter().for_each(|endpoint| message::encode(12, &**endpoint, out));
        self.log_driver.iter().for_each(|driver| message::encode(13, &**driver, out));
        version(14, self.spec_version, out);
        let resources = &self.assigned_generic_resources;
        resources.iter().for_each(|resource| message::encode(15, resource, out));
        version(16, self.job_iteration, out);
        self.volumes.iter().for_each(|volume| message::encode(17, volume, out));
    }
}

impl TaskStatus {
    fn encode(&self, out: &mut Vec<u8>) {
        self.timestamp.iter().for_each(|timestamp| message::encode(1, timestamp, out));
        state(2, self.state.number(), out);
        text(3, &self.message, out);
        text(4, &self.err, out);
        self.container.iter().for_each(|container| message::encode(5, &**container, out));
        self.port_status.iter().for_each(|ports| message::encode(6, &**ports, out));
        text(7, self.applied_by.as_str(), out);
        self.applied_at.iter().for_each(|timestamp| message::encode(8, timestamp, out));
    }
}

/// A message whose length is known only once it is there.
pub fn nested(tag: u32, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::with_capacity(1024);
    encode(&mut inner);
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(inner.len() as u64, out);
    out.extend_from_slice(&inner);
}

fn text(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn number(tag: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

/// The number of a state, of which a sender may have made any 32 bits.
fn state(tag: u32, state: i32, out: &mut Vec<u8>) {
    number(tag, i64::from(state).cast_unsigned(), out);
}

fn version(tag: u32, version: Option<u64>, out: &mut Vec<u8>) {
    if let Some(index) = version {
        message::encode(tag, &wire::Version { index }, out);
    }
}
