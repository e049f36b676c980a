//! The dependencies: who may depend on whom, under which licence, with which known faults.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, semver};
use serde::Deserialize;

use crate::{assert_none, root};

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    advisories: Advisories,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Advisories {
    ignore: Vec<Ignored>,
}

#[derive(Deserialize)]
struct Ignored {
    id: String,
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Crates that reach a socket, a file, TLS, a database or an engine: `node` may use them, the
/// actors and the protocol may not, not even through another crate.
const WORLD: &[&str] = &[
    "bollard",
    "h2",
    "hyper",
    "mio",
    "nix",
    "rcgen",
    "ring",
    "rustix",
    "rustls",
    "sled",
    "socket2",
    "tokio-rustls",
];

/// Features of tokio and tonic that reach the world.
const WORLD_FEATURES: &[&str] = &[
    "channel",
    "fs",
    "full",
    "io-std",
    "net",
    "process",
    "router",
    "server",
    "signal",
    "transport",
];

/// Crates whose features decide whether they reach the world. Cargo unifies features over the
/// whole workspace, so only what a manifest of ours asks for tells anything.
const BY_FEATURE: &[&str] = &["tokio", "tonic"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".into(), "--filter-platform".into(), host()])
        .exec()
        .expect("cargo metadata runs in the workspace")
}

/// The platform that the project is built for; crates for other platforms are never compiled.
fn host() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is readable");
    toml::from_str(&text).expect("deny.toml has the expected form")
}

/// Every package that the workspace really builds, tests and build scripts included.
fn packages(metadata: &Metadata) -> Vec<&Package> {
    let resolve = metadata.resolve.as_ref().expect("metadata was asked with dependencies");
    let built: BTreeSet<_> = resolve.nodes.iter().map(|node| &node.id).collect();
    metadata.packages.iter().filter(|package| built.contains(&package.id)).collect()
}

#[test]
fn licences_are_allowed() {
    let metadata = metadata();
    let allowed = deny().licenses.allow;
    let complaints: Vec<_> = packages(&metadata)
        .into_iter()
        .filter_map(|package| {
            // Old manifests separate alternatives with a slash and mark "or later" with a plus.
            let text = package.license.as_deref().unwrap_or("none").replace('/', " OR ");
            let text = text.replace("MPL-2.0+", "MPL-2.0");
            let fits = spdx::Expression::parse(&text).is_ok_and(|expression| {
                expression.evaluate(|requirement| allowed.contains(&requirement.to_string()))
            });
            (!fits).then(|| format!("{} {}: {text}", package.name, package.version))
        })
        .collect();
    assert_none("licences that deny.toml does not allow", &complaints);
}

#[test]
fn banned_crates_stay_out() {
    let metadata = metadata();
    let bans: BTreeMap<_, _> =
        deny().bans.deny.into_iter().map(|ban| (ban.name, ban.reason)).collect();
    let complaints: Vec<_> = packages(&metadata)
        .into_iter()
        .filter_map(|package| {
            bans.get(package.name.as_str()).map(|reason| format!("{}: {reason}", package.name))
        })
        .collect();
    assert_none("banned crates", &complaints);
}

#[test]
fn known_advisories_are_named_with_a_reason() {
    let metadata = metadata();
    let ignored = deny().advisories.ignore;
    let table = std::fs::read_to_string(root().join("tests/data/advisories.tsv"))
        .expect("the table of advisories is readable");
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for row in table.lines().skip(1) {
        let [name, affected, id, what] = row.split('\t').collect::<Vec<_>>()[..] else {
            complaints.push(format!("malformed row: {row}"));
            continue;
        };
        let affected = semver::VersionReq::parse(affected).expect("a version requirement");
        for package in packages(&metadata) {
            if package.name != name || !affected.matches(&package.version) {
                continue;
            }
            match ignored.iter().find(|entry| entry.id == id && entry.name == name) {
                Some(entry) if !entry.reason.is_empty() => drop(used.insert(id.to_owned())),
                _ => complaints.push(format!("{name} {}: {id}, {what}", package.version)),
            }
        }
    }
    let stale = ignored.iter().filter(|entry| !used.contains(&entry.id));
    complaints.extend(stale.map(|entry| format!("{} is ignored but matches nothing", entry.id)));
    assert_none("advisories", &complaints);
}

#[test]
fn arrows_between_our_crates_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol", &[][..]),
        ("actors", &["protocol"]),
        ("node", &["actors", "protocol"]),
        ("cli", &["protocol"]),
        ("tests", &["actors", "node", "protocol"]),
    ]);
    let metadata = metadata();
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let allowed = allowed.get(package.name.as_str()).expect("a crate without a place");
        let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
        for dependency in ours.filter(|dependency| dependency.name != package.name.as_str()) {
            if !allowed.contains(&dependency.name.as_str()) {
                complaints.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    assert_none("arrows", &complaints);
}

#[test]
fn policy_cannot_reach_the_world() {
    let metadata = metadata();
    let mut complaints = Vec::new();
    for name in ["protocol", "actors"] {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name == name)
            .expect("a workspace member");
        for (path, found) in closure(&metadata, &package.id) {
            if WORLD.contains(&found.as_str()) {
                complaints.push(format!("{name} reaches {found} by {path}"));
            }
        }
        for dependency in &package.dependencies {
            let reaches = |feature: &String| WORLD_FEATURES.contains(&feature.as_str());
            if dependency.kind == DependencyKind::Normal && dependency.features.iter().any(reaches)
            {
                complaints.push(format!("{name} asks for {:?}", dependency.features));
            }
        }
    }
    assert_none("the pure crates", &complaints);
}

/// What a crate is linked with: normal dependencies only, each with the path that led to it.
fn closure(metadata: &Metadata, from: &PackageId) -> Vec<(String, String)> {
    let resolve = metadata.resolve.as_ref().expect("metadata was asked with dependencies");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(from.clone(), String::new())];
    while let Some((id, path)) = open.pop() {
        for dependency in &nodes[&id].deps {
            let normal =
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            let name = metadata[&dependency.pkg].name.to_string();
            if !normal || !seen.insert(dependency.pkg.clone()) {
                continue;
            }
            let path = format!("{path}/{name}");
            found.push((path.clone(), name.clone()));
            if !BY_FEATURE.contains(&name.as_str()) {
                open.push((dependency.pkg.clone(), path));
            }
        }
    }
    found
}
