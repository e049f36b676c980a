//! Holds the compiled descriptors against the tables of the wire protocol, row by row: what
//! existing clients, agents and managers speak must not change by an edit of ours. Our own
//! additions are listed in `extensions.tsv`, and nothing else may be there.

use std::{collections::BTreeSet, ops::RangeInclusive};

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Syntax,
};
use protocol::{
    DESCRIPTORS,
    rpc::{RPCS, Role, find},
};

const SHARED: &[&str] = &["docker.swarmkit.v1", "raftpb"];

/// The numbers of our own fields in shared messages; no table has any of them.
const OURS: RangeInclusive<u32> = 20_000..=20_999;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptors were written by the build")
}

/// The rows of a table, cut to its first `columns`, after the changes of the newest version.
fn table(name: &str, columns: usize) -> BTreeSet<String> {
    let path = format!("{}/tests/data/", env!("CARGO_MANIFEST_DIR"));
    let read = |file: String| std::fs::read_to_string(file).expect("the tables are readable");
    let cut = |row: Vec<&str>| row[..columns].join("\t");
    let text = read(format!("{path}{name}.tsv"));
    let mut rows: BTreeSet<_> =
        text.lines().skip(1).map(|line| cut(line.split('\t').collect())).collect();
    assert!(!rows.is_empty(), "{name} has rows");
    let text = read(format!("{path}newer_diff.tsv"));
    let changes = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let ours = changes.filter(|change| change[0] == name);
    let (added, removed): (Vec<_>, Vec<_>) = ours.partition(|change| change[1] == "added");
    for change in removed {
        rows.remove(&cut(change[2].split('|').collect()));
    }
    rows.extend(added.into_iter().map(|change| cut(change[2].split('|').collect())));
    rows
}

#[track_caller]
fn assert_same(what: &str, wanted: &BTreeSet<String>, found: &BTreeSet<String>) {
    let missing: Vec<_> = wanted.difference(found).collect();
    let foreign: Vec<_> = found.difference(wanted).collect();
    assert!(
        missing.is_empty() && foreign.is_empty(),
        "{what}:\n  missing {missing:#?}\n  not in the tables {foreign:#?}"
    );
}

fn shared(package: &str) -> bool {
    SHARED.contains(&package)
}

/// Every message of the shared packages; the entries of maps are no messages of their own.
fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|message| shared(message.package_name()) && !message.is_map_entry())
        .collect()
}

/// The fields of a message that the tables know.
fn fields(message: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> + '_ {
    message.fields().filter(|field| !OURS.contains(&field.number()))
}

fn file(path: &str) -> &str {
    path.rsplit('/').next().expect("a split has at least one part")
}

fn type_name(kind: &Kind) -> String {
    let named = kind.as_message().map(|message| message.full_name().to_owned());
    let named = named.or(kind.as_enum().map(|r#enum| r#enum.full_name().to_owned()));
    named.unwrap_or_else(|| format!("{kind:?}").to_lowercase())
}

fn kind_name(kind: &Kind) -> &'static str {
    match (kind.as_message(), kind.as_enum()) {
        (Some(_), _) => "message",
        (_, Some(_)) => "enum",
        (None, None) => "scalar",
    }
}

fn field_row(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let kind = field.kind();
    let entry = kind.as_message().filter(|_| field.is_map());
    let map = entry.map(|entry| {
        let part = |field: FieldDescriptor| type_name(&field.kind());
        (part(entry.map_entry_key_field()), part(entry.map_entry_value_field()))
    });
    let list = field.is_list() && !field.is_map();
    let label = match field.cardinality() {
        _ if field.is_map() => "map",
        Cardinality::Optional => "optional",
        Cardinality::Required => "required",
        Cardinality::Repeated => "repeated",
    };
    let numeric = !matches!(kind, Kind::Message(_) | Kind::String | Kind::Bytes);
    let packing = match (list && numeric, field.is_packed()) {
        (false, _) => "-",
        (true, true) => "packed",
        (true, false) => "unpacked",
    };
    let presence = match field.supports_presence() {
        _ if list || field.is_map() => "-",
        true => "explicit",
        false => "implicit",
    };
    let oneof = field.containing_oneof().map_or("-".to_owned(), |oneof| oneof.name().to_owned());
    let (key, value) = map.unwrap_or(("-".to_owned(), "-".to_owned()));
    let (type_name, kind) = match field.is_map() {
        true => ("map".to_owned(), "map"),
        false => (type_name(&kind), kind_name(&kind)),
    };
    [
        message.full_name(),
        field.name(),
        &field.number().to_string(),
        label,
        &type_name,
        &oneof,
        &key,
        &value,
        kind,
        presence,
        packing,
    ]
    .join("\t")
}

#[test]
fn fields_are_those_of_the_tables() {
    let found = messages(&pool())
        .iter()
        .flat_map(|message| fields(message).map(|field| field_row(message, &field)))
        .collect();
    assert_same("fields", &table("messages", 11), &found);
}

#[test]
fn messages_are_those_of_the_tables() {
    let row = |message: &MessageDescriptor| {
        let parent = message.parent_file();
        let syntax = match parent.syntax() {
            Syntax::Proto2 => "proto2",
            Syntax::Proto3 => "proto3",
        };
        let fields = fields(message).count().to_string();
        let oneofs: Vec<_> = message.oneofs().map(|oneof| oneof.name().to_owned()).collect();
        let oneofs = if oneofs.is_empty() { "-".to_owned() } else { oneofs.join(",") };
        [message.full_name(), file(parent.name()), syntax, &fields, &oneofs].join("\t")
    };
    let found = messages(&pool()).iter().map(row).collect();
    assert_same("messages", &table("message_names", 5), &found);
}

#[test]
fn enums_are_those_of_the_tables() {
    let rows = |r#enum: EnumDescriptor| {
        let parent = r#enum.parent_file();
        let values: Vec<_> = r#enum.values().collect();
        let row = move |(name, number): (String, i32)| {
            format!("{}\t{name}\t{number}\t{}", r#enum.full_name(), file(parent.name()))
        };
        values.into_iter().map(|value| (value.name().to_owned(), value.number())).map(row)
    };
    let pool = pool();
    let ours = pool.all_enums().filter(|r#enum| shared(r#enum.package_name()));
    let found = ours.flat_map(rows).collect();
    assert_same("enum values", &table("enums", 4), &found);
}

/// Roles in one order, since the tables do not keep to one.
fn sorted(roles: &str) -> String {
    let mut roles: Vec<_> = roles.split(',').collect();
    roles.sort_unstable();
    roles.join(",")
}

#[test]
fn methods_are_those_of_the_tables() {
    let wanted = table("services", 11)
        .iter()
        .map(|row| {
            let cells: Vec<_> = row.split('\t').collect();
            let roles = sorted(cells[6]);
            [&cells[..6], &[&roles, cells[7]], &cells[9..]].concat().join("\t")
        })
        .collect();
    let pool = pool();
    let mut found = BTreeSet::new();
    for service in pool.services().filter(|service| shared(service.package_name())) {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let rpc = find(&path).expect("every method has a row");
            let names = rpc.roles.iter().map(|role| match role {
                Role::Manager => "swarm-manager",
                Role::Worker => "swarm-worker",
            });
            let names: Vec<_> = names.collect();
            let roles = if names.is_empty() { "-".to_owned() } else { sorted(&names.join(",")) };
            let (input, output) = (method.input(), method.output());
            let parent = service.parent_file();
            let row = [
                service.full_name(),
                method.name(),
                input.full_name(),
                &rpc.client_streaming.to_string(),
                output.full_name(),
                &rpc.server_streaming.to_string(),
                &roles,
                &rpc.anybody.to_string(),
                &path,
                file(parent.name()),
            ];
            found.insert(row.join("\t"));
        }
    }
    assert_same("methods", &wanted, &found);
}

#[test]
fn raft_health_and_watch_are_answered_by_whom_they_ask() {
    let service = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let local: BTreeSet<_> =
        RPCS.iter().filter(|rpc| !rpc.leader).map(|rpc| service(rpc.path)).collect();
    let wanted =
        ["docker.swarmkit.v1.Health", "docker.swarmkit.v1.Raft", "docker.swarmkit.v1.Watch"];
    let wanted = wanted.into_iter().chain(["swarm.v1.Diagnostics"]).map(str::to_owned).collect();
    assert_same("services that are not the leader's", &wanted, &local);
}

#[test]
fn additions_are_listed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/extensions.tsv");
    let text = std::fs::read_to_string(path).expect("the table is readable");
    let wanted = text
        .lines()
        .skip(1)
        .map(|row| row.split('\t').take(3).collect::<Vec<_>>().join("\t"))
        .collect();
    let pool = pool();
    let ours = |package: &str| package == "swarm.v1";
    let mut found = BTreeSet::new();
    for service in pool.services().filter(|service| ours(service.package_name())) {
        found.insert(format!("service\t{}\t-", service.full_name()));
    }
    for message in pool.all_messages().filter(|message| ours(message.package_name())) {
        found.insert(format!("message\t{}\t-", message.full_name()));
    }
    for message in messages(&pool) {
        let own = message.fields().filter(|field| OURS.contains(&field.number()));
        found.extend(own.map(|field| format!("field\t{}\t{}", field.full_name(), field.number())));
    }
    for r#enum in pool.all_enums().filter(|r#enum| ours(r#enum.package_name())) {
        found.insert(format!("enum\t{}\t-", r#enum.full_name()));
    }
    for option in pool.all_extensions() {
        found.insert(format!("option\t{}\t{}", option.full_name(), option.number()));
    }
    assert_same("additions", &wanted, &found);
}
