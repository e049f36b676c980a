//! Templates in a container spec (validation.md §10): where they would be expanded.

use protocol::wire::{ContainerSpec, Mount};

use crate::control::Error;

/// What a template begins with.
const BEGIN: &str = "{{";

/// Refuses templates: nothing expands them yet, and a task that got one as it is would run with
/// nonsense.
pub(super) fn check_templates(container: &ContainerSpec) -> Result<(), Error> {
    // A template in the name of a variable was never expanded, nor was one without a value.
    let values = container.env.iter().filter_map(|variable| Some(variable.split_once('=')?.1));
    let mounts = container.mounts.iter().flat_map(expanded);
    let mut texts = values.chain(mounts).chain([container.hostname.as_str()]);
    match texts.find(|text| text.contains(BEGIN)) {
        Some(text) => Err(Error::Unimplemented(format!(
            "templates are not offered by this version of swarmd: \"{text}\""
        ))),
        None => Ok(()),
    }
}

fn expanded(mount: &Mount) -> impl Iterator<Item = &str> {
    let volume = mount.volume_options.as_ref();
    let labels = volume.into_iter().flat_map(|volume| volume.labels.values());
    let driver = volume.and_then(|volume| volume.driver_config.as_ref());
    let options = driver.into_iter().flat_map(|driver| driver.options.values());
    [&mount.source, &mount.target].into_iter().chain(labels).chain(options).map(String::as_str)
}
