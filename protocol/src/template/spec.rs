//! Which texts of a container spec are templates.

use std::borrow::Cow;

use super::{Context, EXPANDED_BYTES_MAX, Error, error::Reason, expand, is_template};
use crate::wire::{ContainerSpec, Mount};

/// A text of a spec that cannot be expanded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSpec {
    /// A value of the environment.
    #[error("expanding env failed: expanding env {0:?}: {1}")]
    Env(String, Error),
    /// A source of a mount.
    #[error("expanding mounts failed: expanding mount source {0:?}: {1}")]
    MountSource(String, Error),
    /// A target of a mount.
    #[error("expanding mounts failed: expanding mount target {0:?}: {1}")]
    MountTarget(String, Error),
    /// A label of a volume.
    #[error(
        "expanding mounts failed: expanding volume labels: expanding map entry {0:?}={1:?}: {2}"
    )]
    VolumeLabel(String, String, Error),
    /// An option of a volume's driver.
    #[error(
        "expanding mounts failed: expanding volume driver config: \
         expanding map entry {0:?}={1:?}: {2}"
    )]
    DriverOption(String, String, Error),
    /// The host name.
    #[error("expanding hostname failed: {0}")]
    Hostname(Error),
}

/// Returns a spec with its templates expanded: the values of the environment, the mounts and the
/// host name. Nothing else is ever a template. All texts together become no longer than one may.
pub fn expand_container<'a>(
    container: &'a ContainerSpec,
    context: &Context,
) -> Result<Cow<'a, ContainerSpec>, InvalidSpec> {
    if !texts(container).any(is_template) {
        return Ok(Cow::Borrowed(container));
    }
    let mut expanded = container.clone();
    let mut expansion = Expansion { context, left: EXPANDED_BYTES_MAX };
    let mut expand = |text: &str| expansion.expand(text);
    for entry in &mut expanded.env {
        // A template in the name of a variable is none, nor is one without a value.
        if let Some((name, value)) = entry.split_once('=') {
            let value = expand(value).map_err(|error| InvalidSpec::Env(entry.clone(), error))?;
            *entry = format!("{name}={value}");
        }
    }
    for mount in &mut expanded.mounts {
        expand_mount(mount, &mut expand)?;
    }
    expanded.hostname = expand(&container.hostname).map_err(InvalidSpec::Hostname)?;
    Ok(Cow::Owned(expanded))
}

/// What the texts of one spec share.
struct Expansion<'a> {
    context: &'a Context,
    /// How many bytes may still come out of templates.
    left: usize,
}

impl Expansion<'_> {
    fn expand(&mut self, text: &str) -> Result<String, Error> {
        let expanded = expand(text, self.context)?;
        if is_template(text) {
            let left = self.left.checked_sub(expanded.len());
            self.left = left.ok_or_else(|| Error::parsing(text, 0, Reason::TooLong))?;
        }
        Ok(expanded)
    }
}

fn expand_mount(
    mount: &mut Mount,
    mut expand: impl FnMut(&str) -> Result<String, Error>,
) -> Result<(), InvalidSpec> {
    mount.source = expand(&mount.source)
        .map_err(|error| InvalidSpec::MountSource(mount.source.clone(), error))?;
    mount.target = expand(&mount.target)
        .map_err(|error| InvalidSpec::MountTarget(mount.target.clone(), error))?;
    let Some(volume) = &mut mount.volume_options else { return Ok(()) };
    for (key, value) in &mut volume.labels {
        *value = expand(value)
            .map_err(|error| InvalidSpec::VolumeLabel(key.clone(), value.clone(), error))?;
    }
    let options = volume.driver_config.as_mut().map(|driver| &mut driver.options);
    for (key, value) in options.into_iter().flatten() {
        *value = expand(value)
            .map_err(|error| InvalidSpec::DriverOption(key.clone(), value.clone(), error))?;
    }
    Ok(())
}

/// Every text that is expanded.
fn texts(container: &ContainerSpec) -> impl Iterator<Item = &str> {
    let values = container.env.iter().filter_map(|entry| Some(entry.split_once('=')?.1));
    let mounts = container.mounts.iter().flat_map(|mount| {
        let volume = mount.volume_options.as_ref();
        let labels = volume.into_iter().flat_map(|volume| volume.labels.values());
        let driver = volume.and_then(|volume| volume.driver_config.as_ref());
        let options = driver.into_iter().flat_map(|driver| driver.options.values());
        [&mount.source, &mount.target].into_iter().chain(labels).chain(options)
    });
    values.chain(mounts.map(String::as_str)).chain([container.hostname.as_str()])
}
