//! Resources of other kinds than processors and memory, as command lines name them
//! (`fpga=2,gpu=UUID1,gpu=UUID2`; cli.md §3 and §swarmd).

use std::{collections::BTreeMap, str::FromStr};

use crate::wire::{
    DiscreteGenericResource, GenericResource, NamedGenericResource, generic_resource::Resource,
};

/// Resources, by kind in order: counted, or each with a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenericResources(pub Vec<GenericResource>);

/// The text names no resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not parse GenericResource: {0}")]
pub struct InvalidGenericResources(String);

impl FromStr for GenericResources {
    type Err = InvalidGenericResources;

    fn from_str(text: &str) -> Result<Self, InvalidGenericResources> {
        if text.contains('\n') {
            return Err(InvalidGenericResources("unexpected '\\n' character".to_owned()));
        }
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for term in text.split(',') {
            match term.split_once('=') {
                Some((kind, value)) if !kind.is_empty() && !value.is_empty() => {
                    kinds.entry(kind).or_default().push(value);
                }
                Some(_) | None => {
                    let why = format!("incorrect term {term}, missing '=' or malformed expression");
                    return Err(InvalidGenericResources(why));
                }
            }
        }
        let kinds = kinds.into_iter().map(|(kind, values)| of_kind(kind, &values));
        Ok(Self(kinds.collect::<Result<Vec<_>, _>>()?.concat()))
    }
}

fn of_kind(kind: &str, values: &[&str]) -> Result<Vec<GenericResource>, InvalidGenericResources> {
    let counts: Vec<i64> = values.iter().filter_map(|value| value.parse().ok()).collect();
    let resource = |resource| GenericResource { resource: Some(resource) };
    let kind = kind.to_owned();
    match (&counts[..], values) {
        ([], names) => {
            let named = |name: &&str| {
                let named = NamedGenericResource { kind: kind.clone(), value: (*name).to_owned() };
                resource(Resource::NamedResourceSpec(named))
            };
            Ok(names.iter().map(named).collect())
        }
        (&[count], [_]) if count < 0 => {
            Err(InvalidGenericResources(format!("cannot ask for negative resource {kind}")))
        }
        (&[value], [_]) => {
            let counted = DiscreteGenericResource { kind, value };
            Ok(vec![resource(Resource::DiscreteResourceSpec(counted))])
        }
        _ => {
            let all = values.join(", ");
            let why = format!("mixed discrete and named resources in expression '{kind}=[{all}]'");
            Err(InvalidGenericResources(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c=,0-9\\n-]{0,20}") {
            if let Ok(GenericResources(resources)) = text.parse() {
                prop_assert!(!resources.is_empty());
            }
        }
    }

    #[test]
    fn resources_are_counted_or_named() {
        let read = |text: &str| -> Vec<_> {
            let GenericResources(resources) = text.parse().expect(text);
            let shown = |resource: GenericResource| match resource.resource.expect("one of both") {
                Resource::DiscreteResourceSpec(counted) => {
                    format!("{} {} counted", counted.kind, counted.value)
                }
                Resource::NamedResourceSpec(named) => format!("{} {}", named.kind, named.value),
            };
            resources.into_iter().map(shown).collect()
        };
        assert_eq!(read("gpu=2,fpga=1"), ["fpga 1 counted", "gpu 2 counted"]);
        assert_eq!(
            read("gpu=UUID2,fpga=0,gpu=UUID1"),
            ["fpga 0 counted", "gpu UUID2", "gpu UUID1"]
        );
        for (text, why) in [
            ("", "incorrect term , missing '=' or malformed expression"),
            ("gpu", "incorrect term gpu, missing '=' or malformed expression"),
            ("gpu=", "incorrect term gpu=, missing '=' or malformed expression"),
            ("gpu=-1", "cannot ask for negative resource gpu"),
            ("gpu=1,gpu=a", "mixed discrete and named resources in expression 'gpu=[1, a]'"),
            ("gpu=1,gpu=2", "mixed discrete and named resources in expression 'gpu=[1, 2]'"),
            ("gpu=1\n", "unexpected '\\n' character"),
        ] {
            let error = text.parse::<GenericResources>().expect_err(text);
            assert_eq!(error.to_string(), format!("could not parse GenericResource: {why}"));
        }
    }
}
