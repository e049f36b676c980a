//! The records through which daemon and shim speak, and their form on disk.
//!
//! A record is a frame around a protobuf message: daemons and shims of different releases meet
//! in one directory, and fields can be added. The frame tells a damaged record from a whole one.

use prost::{Message, Oneof};

use super::{
    control_group::ControlGroup, health::HealthCheck, process::ProcessIdentity, ulimit::Ulimit,
};

const MAGIC: [u8; 4] = *b"SWR1";
const FRAME_LEN: usize = 12;

/// A message that lies in a file of its own in the task's directory.
pub trait Record: Message + Default {
    /// The file's name.
    const FILE: &'static str;
}

/// What to run, and how. Written by the daemon before there is a shim.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Instructions {
    /// The task's id.
    #[prost(string, tag = "1")]
    pub task_id: String,
    /// The program: a path, or a name to look up in the task's PATH.
    #[prost(string, tag = "2")]
    pub program: String,
    /// What follows the program's name.
    #[prost(string, repeated, tag = "3")]
    pub arguments: Vec<String>,
    /// The whole environment, as `KEY=VALUE`.
    #[prost(string, repeated, tag = "4")]
    pub environment: Vec<String>,
    /// The working directory.
    #[prost(string, tag = "5")]
    pub directory: String,
    /// `USER`, `USER:GROUP`, by name or number; empty for the daemon's own.
    #[prost(string, tag = "6")]
    pub user: String,
    /// Further groups, by name or number.
    #[prost(string, repeated, tag = "7")]
    pub groups: Vec<String>,
    /// The number of the signal that asks the task to stop.
    #[prost(int32, tag = "8")]
    pub stop_signal: i32,
    /// How long the task may take to stop, in milliseconds.
    #[prost(uint64, tag = "9")]
    pub grace_period_ms: u64,
    /// How long one file of output may become, in bytes.
    #[prost(uint64, tag = "10")]
    pub output_file_bytes_max: u64,
    /// How many files of output are kept.
    #[prost(uint32, tag = "11")]
    pub output_files_max: u32,
    /// The groups that the task's processes are in.
    #[prost(message, repeated, tag = "12")]
    pub control_groups: Vec<ControlGroup>,
    /// The limits that its processes carry with them.
    #[prost(message, repeated, tag = "13")]
    pub ulimits: Vec<Ulimit>,
    /// How its health is looked at; none when nobody looks.
    #[prost(message, optional, tag = "14")]
    pub health_check: Option<HealthCheck>,
}

/// Who may start the task. There is one per directory, for ever.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Claim {
    /// The shim; none when the task was stopped before there was one.
    #[prost(message, optional, tag = "1")]
    pub shim: Option<ProcessIdentity>,
}

/// The task's program runs, or has run.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Started {
    /// Its main process, which leads a session of its own.
    #[prost(message, optional, tag = "1")]
    pub main: Option<ProcessIdentity>,
}

/// A health check has succeeded.
#[derive(Clone, Copy, Eq, PartialEq, Message)]
pub struct Healthy {}

/// How it ended.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct Exit {
    /// What came of it; always there, unless a later release knows more outcomes.
    #[prost(oneof = "Outcome", tags = "1, 2, 3")]
    pub outcome: Option<Outcome>,
    /// Whether one of its processes was killed because they used all the memory they may.
    #[prost(bool, tag = "16")]
    pub out_of_memory: bool,
}

/// What came of a task.
#[derive(Clone, Eq, PartialEq, Oneof)]
pub enum Outcome {
    /// It ran and ended, with this code: 128 plus the signal when one ended it.
    #[prost(int32, tag = "1")]
    Code(i32),
    /// It never ran.
    #[prost(message, tag = "2")]
    NotStarted(NotStarted),
    /// It was ended because its health checks failed, with this code.
    #[prost(int32, tag = "3")]
    Unhealthy(i32),
}

/// Why the task's program never ran.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct NotStarted {
    /// What a shell would return: 127 when the program does not exist, else 126.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// What was tried, and what the system said.
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl Record for Instructions {
    const FILE: &'static str = "instructions";
}

impl Record for Claim {
    const FILE: &'static str = "shim";
}

impl Record for Started {
    const FILE: &'static str = "started";
}

impl Record for Healthy {
    const FILE: &'static str = "healthy";
}

impl Record for Exit {
    const FILE: &'static str = "exit";
}

/// Why bytes are no record.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damaged {
    /// They begin with something else.
    #[error("it does not begin like a record")]
    Foreign,
    /// There are more than any record has.
    #[error("it is larger than any record")]
    TooLarge,
    /// Some are missing.
    #[error("it is shorter than it says")]
    Short,
    /// Some are not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// The bytes are whole and mean nothing.
    #[error("its content cannot be read")]
    Content(#[source] prost::DecodeError),
}

/// Returns a message in its frame: magic, length and CRC-32C of the message, the message.
pub(super) fn seal(message: &impl Message) -> Vec<u8> {
    let content = message.encode_to_vec();
    let length = u32::try_from(content.len()).expect("a record is far below 4 GiB");
    let mut bytes = Vec::with_capacity(FRAME_LEN + content.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Takes a message out of its frame. Bytes after it are ignored.
pub(super) fn open<M: Message + Default>(bytes: &[u8]) -> Result<M, Damaged> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Damaged::Short)?;
    if *magic != MAGIC {
        return Err(Damaged::Foreign);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Damaged::Short)?;
    let (checksum, rest) = rest.split_first_chunk::<4>().ok_or(Damaged::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damaged::Short)?;
    let content = rest.get(..length).ok_or(Damaged::Short)?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return Err(Damaged::Checksum);
    }
    M::decode(content).map_err(Damaged::Content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::control_group::Setting, *};

    fn instructions() -> impl Strategy<Value = Instructions> {
        let texts = || prop::collection::vec(any::<String>(), 0..4);
        let numbers = (any::<i32>(), any::<u64>(), any::<u64>(), any::<u32>());
        let texts4 = (texts(), texts(), texts(), control_groups());
        let process = (ulimits(), prop::option::of(health_check()));
        (any::<[String; 4]>(), texts4, process, numbers).prop_map(
            |([task_id, program, directory, user], texts, (ulimits, health_check), numbers)| {
                let (arguments, environment, groups, control_groups) = texts;
                let (stop_signal, grace_period_ms, output_file_bytes_max, output_files_max) =
                    numbers;
                Instructions {
                    task_id,
                    program,
                    arguments,
                    environment,
                    directory,
                    user,
                    groups,
                    stop_signal,
                    grace_period_ms,
                    output_file_bytes_max,
                    output_files_max,
                    control_groups,
                    ulimits,
                    health_check,
                }
            },
        )
    }

    fn control_groups() -> impl Strategy<Value = Vec<ControlGroup>> {
        let setting = any::<(String, String, bool)>().prop_map(|(file, value, optional)| Setting {
            file,
            value,
            optional,
        });
        let group = (any::<String>(), prop::collection::vec(setting, 0..3))
            .prop_map(|(directory, settings)| ControlGroup { directory, settings });
        prop::collection::vec(group, 0..3)
    }

    fn ulimits() -> impl Strategy<Value = Vec<Ulimit>> {
        let limit =
            any::<(String, u64, u64)>().prop_map(|(name, soft, hard)| Ulimit { name, soft, hard });
        prop::collection::vec(limit, 0..3)
    }

    fn health_check() -> impl Strategy<Value = HealthCheck> {
        any::<(Vec<String>, [u64; 4], u32)>().prop_map(|(command, periods, retries)| {
            let [interval_ms, timeout_ms, start_period_ms, start_interval_ms] = periods;
            HealthCheck {
                command,
                interval_ms,
                timeout_ms,
                start_period_ms,
                start_interval_ms,
                retries,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(instructions in instructions(), behind: Vec<u8>) {
            let mut bytes = seal(&instructions);
            bytes.extend(behind);
            prop_assert_eq!(open::<Instructions>(&bytes), Ok(instructions));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, content: Vec<u8>) {
            open::<Instructions>(&bytes).ok();
            let mut framed = seal(&Exit::default());
            framed.truncate(4);
            framed.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            framed.extend(crc32c::crc32c(&content).to_le_bytes());
            framed.extend(content);
            open::<Exit>(&framed).ok();
            open::<Claim>(&framed).ok();
            open::<Started>(&framed).ok();
            open::<Healthy>(&framed).ok();
            open::<Instructions>(&framed).ok();
        }

        #[test]
        fn a_shortened_record_does_not_open(instructions in instructions(), keep: prop::sample::Index) {
            let bytes = seal(&instructions);
            let kept = &bytes[..keep.index(bytes.len())];
            prop_assert_eq!(open::<Instructions>(kept), Err(Damaged::Short));
        }

        #[test]
        fn a_changed_record_does_not_open(
            instructions in instructions(),
            at: prop::sample::Index,
            flip in 1..=u8::MAX,
        ) {
            let mut bytes = seal(&instructions);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(open::<Instructions>(&bytes).is_err());
        }
    }

    #[test]
    fn damage_has_a_name() {
        assert_eq!(open::<Exit>(b""), Err(Damaged::Short));
        assert_eq!(open::<Exit>(b"{ \"code\": 0 }"), Err(Damaged::Foreign));
        // A field number of 0 is no protobuf message.
        let mut bytes = MAGIC.to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(crc32c::crc32c(&[0]).to_le_bytes());
        bytes.push(0);
        assert!(matches!(open::<Exit>(&bytes), Err(Damaged::Content(_))));
    }
}
