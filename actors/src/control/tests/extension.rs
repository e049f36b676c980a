//! Extensions and their resources (validation.md §1, §2, §8 and §11).

use prost_types::Any;
use protocol::wire::{
    Annotations, CreateExtensionRequest, CreateResourceRequest, ListResourcesRequest,
    UpdateResourceRequest, Version, list_resources_request,
};

use super::{View, named, refusal, write};
use crate::control::{
    Error, list,
    logic::{extension, resource},
};

fn extend(view: &View, id: &str, name: &str) -> Result<View, Error> {
    let annotations = Some(named(name));
    let request = CreateExtensionRequest { annotations, description: "kind".to_owned() };
    write(view, |transaction| extension::create(transaction, &id.into(), request))
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages are optional")]
fn payload(value: &str) -> Option<Any> {
    Some(Any { type_url: "url".to_owned(), value: value.into() })
}

fn create(view: &View, id: &str, name: &str, kind: &str) -> Result<View, Error> {
    let mut annotations = named(name);
    annotations.labels = [("tier".to_owned(), name.to_owned())].into();
    let kind = kind.to_owned();
    let request =
        CreateResourceRequest { annotations: Some(annotations), kind, payload: payload("a") };
    write(view, |transaction| resource::create(transaction, &id.into(), request))
}

fn update(
    view: &View,
    id: &str,
    version: Option<u64>,
    annotations: Option<Annotations>,
    payload: Option<Any>,
) -> Result<View, Error> {
    let resource_version = version.map(|index| Version { index });
    let resource_id = id.to_owned();
    let request = UpdateResourceRequest { resource_id, resource_version, annotations, payload };
    write(view, |transaction| resource::update(transaction, request))
}

#[track_caller]
fn check(outcome: Result<View, Error>, expected: &str) {
    assert_eq!(outcome.map_or_else(|error| refusal(&error), |_| "done".to_owned()), expected);
}

/// One extension with one resource.
fn volcanoes() -> View {
    create(&extend(&View::default(), "e1", "Volcano").unwrap(), "r1", "Etna", "volcano").unwrap()
}

#[test]
fn extensions_have_a_name_that_is_free() {
    let view = volcanoes();
    let unnamed = CreateExtensionRequest::default();
    check(
        write(&view, |transaction| extension::create(transaction, &"e2".into(), unnamed)),
        "IA: extension name must be provided",
    );
    check(extend(&view, "e2", ""), "IA: extension name must be provided");
    check(extend(&view, "e2", "VOLCANO"), "AE: extension VOLCANO already exists");
    for built_in in ["node", "service", "task", "network", "cluster", "secret", "config"] {
        let taken = format!("AE: extension {built_in} already exists");
        check(extend(&view, "e2", built_in), &taken);
    }
    check(extend(&view, "e2", "geyser"), "done");
}

#[test]
fn extensions_are_found_and_removed_by_id() {
    let view = extend(&View::default(), "e1", "Volcano").unwrap();
    let get = |id| extension::get(&view, id).map(|_| view.clone());
    check(get(""), "IA: extension ID must be provided");
    check(get("e9"), "NF: extension e9 not found");
    check(get("e1"), "done");
    let remove = |id| write(&view, |transaction| extension::remove(transaction, id));
    check(remove(""), "IA: extension ID must be provided");
    check(remove("e9"), "NF: could not find extension e9");
    check(remove("e1"), "done");
}

#[test]
fn an_extension_stays_as_long_as_its_resources() {
    let view = create(&extend(&View::default(), "e1", "geyser").unwrap(), "r1", "a", "geyser");
    let view = view.unwrap();
    check(
        write(&view, |transaction| extension::remove(transaction, "e1")),
        "UK: cannot delete extension because objects of this type exist in the data store",
    );
}

#[test]
fn resources_have_a_name_and_a_kind_that_is_registered() {
    let view = volcanoes();
    check(create(&view, "r2", "", ""), "IA: Resource must have a name");
    check(create(&view, "r2", "a", ""), "IA: Resource must belong to an Extension");
    check(create(&view, "r2", "a", "geyser"), "IA: Kind geyser is not registered");
    check(create(&view, "r2", "ETNA", "Volcano"), "AE: A resource with name ETNA already exists");
    check(create(&view, "r2", "Fuji", "VOLCANO"), "done");
}

#[test]
fn resources_are_found_and_removed_by_id() {
    let view = volcanoes();
    let get = |id| resource::get(&view, id).map(|_| view.clone());
    check(get(""), "IA: resource ID must be present");
    check(get("r9"), "NF: resource r9 not found");
    let remove = |id| write(&view, |transaction| resource::remove(transaction, id));
    check(remove(""), "IA: resource ID must be present");
    check(remove("r9"), "NF: resource r9 not found");
    check(remove("r1"), "done");
}

#[test]
fn an_update_replaces_what_it_gives() {
    let view = volcanoes();
    let etna = || Some(named("Etna"));
    check(update(&view, "", Some(2), None, None), "IA: must include ID and version");
    check(update(&view, "r1", None, None, None), "IA: must include ID and version");
    check(update(&view, "r9", Some(2), None, None), "NF: resource r9 not found");
    check(update(&view, "r1", Some(1), etna(), None), "IA: update out of sequence");
    let renamed = Some(named("Fuji"));
    check(update(&view, "r1", Some(2), renamed, None), "IA: cannot change resource name");
    let stored = |view: &View| resource::get(view, "r1").unwrap().body.clone();
    let view = update(&view, "r1", Some(2), None, payload("b")).unwrap();
    assert_eq!(stored(&view).payload, payload("b"));
    assert_eq!(stored(&view).annotations.as_ref().unwrap().labels.len(), 1, "they were not given");
    let view = update(&view, "r1", Some(3), etna(), None).unwrap();
    assert_eq!(stored(&view).payload, payload("b"), "it was not given");
    assert_eq!(stored(&view).annotations, etna());
}

#[test]
fn lists_of_resources_join_names_and_narrow_by_kind_and_label() {
    let view = volcanoes();
    let view = create(&view, "r2", "Fuji", "Volcano").unwrap();
    let check = |change: &dyn Fn(&mut list_resources_request::Filters), expected: &[&str]| {
        let mut filters = list_resources_request::Filters::default();
        change(&mut filters);
        let found = list::resources(&view, &ListResourcesRequest { filters: Some(filters) });
        let ids: Vec<_> = found.iter().map(|resource| resource.id.as_str()).collect();
        assert_eq!(ids, expected);
    };
    check(&|_| {}, &["r1", "r2"]);
    check(&|wanted| wanted.names = vec!["ETNA".to_owned()], &["r1"]);
    check(&|wanted| wanted.name_prefixes = vec!["fu".to_owned()], &["r2"]);
    check(&|wanted| wanted.id_prefixes = vec!["r".to_owned()], &["r1", "r2"]);
    check(
        &|wanted| {
            wanted.names = vec!["etna".to_owned()];
            wanted.id_prefixes = vec!["r2".to_owned()];
        },
        &["r1", "r2"],
    );
    check(&|wanted| wanted.kind = "Volcano".to_owned(), &["r2"]);
    check(&|wanted| wanted.kind = "volcano".to_owned(), &["r1"]);
    check(&|wanted| wanted.labels = [("tier".to_owned(), "Fuji".to_owned())].into(), &["r2"]);
    check(&|wanted| wanted.labels = [("other".to_owned(), String::new())].into(), &[]);
}
