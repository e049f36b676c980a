//! The flags that refer to other objects by name. A manager has to be asked what they mean.

use clap::Args;
use protocol::wire::{
    ConfigReference, ContainerSpec, FileTarget, NetworkAttachmentConfig, SecretReference,
    ServiceSpec, config_reference, secret_reference, task_spec::Runtime,
};

use crate::{
    connect::Client,
    error::Error,
    value::{self, Invalid, List, Reference},
};

/// Permission bits of the files that secrets and configs become.
const FILE_MODE: u32 = 0o444;

/// The network of the tasks.
#[derive(Args, Clone, Default)]
pub(super) struct NetworkFlag {
    /// Network of the tasks (ID or name)
    #[arg(long, allow_hyphen_values = true)]
    network: Option<String>,
}

/// The secrets of a new service.
#[derive(Args, Clone, Default)]
pub(super) struct SecretFlag {
    /// Secrets that tasks get as files (name or name:file)
    #[arg(long, allow_hyphen_values = true)]
    secret: Option<Vec<List>>,
}

/// Secrets and configs that a service gets or loses.
#[derive(Args, Clone, Default)]
pub(super) struct ReferenceFlags {
    /// Add secrets (name or name:file)
    #[arg(long, allow_hyphen_values = true)]
    add_secret: Option<Vec<List>>,
    /// Remove secrets
    #[arg(long, allow_hyphen_values = true)]
    rm_secret: Option<Vec<List>>,
    /// Add configs (name or name:file)
    #[arg(long, allow_hyphen_values = true)]
    add_config: Option<Vec<List>>,
    /// Remove configs
    #[arg(long, allow_hyphen_values = true)]
    rm_config: Option<Vec<List>>,
}

/// What the flags refer to, read but not looked up yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct References {
    network: Option<String>,
    secrets: Vec<Reference>,
    secrets_removed: Vec<String>,
    configs: Vec<Reference>,
    configs_removed: Vec<String>,
}

fn read(kind: &str, flag: Option<&[List]>) -> Result<Vec<Reference>, Invalid> {
    let items = List::join(flag).unwrap_or_default();
    items.iter().map(|item| value::reference(kind, item)).collect()
}

impl References {
    pub(super) fn of_new(network: NetworkFlag, secrets: &SecretFlag) -> Result<Self, Error> {
        let secrets = read("secret", secrets.secret.as_deref())?;
        Ok(Self { network: network.network, secrets, ..Self::default() })
    }

    pub(super) fn of_update(network: NetworkFlag, flags: &ReferenceFlags) -> Result<Self, Error> {
        Ok(Self {
            network: network.network,
            secrets: read("secret", flags.add_secret.as_deref())?,
            secrets_removed: List::join(flags.rm_secret.as_deref()).unwrap_or_default(),
            configs: read("config", flags.add_config.as_deref())?,
            configs_removed: List::join(flags.rm_config.as_deref()).unwrap_or_default(),
        })
    }

    /// Looks everything up and writes it into a spec. What is removed comes first, so that a
    /// reference can be replaced in one go; unknown names are removed already.
    pub(crate) async fn apply(
        &self,
        client: &mut Client,
        spec: &mut ServiceSpec,
    ) -> Result<(), Error> {
        if let Some(network) = &self.network {
            let target = client.network(network).await?.id;
            let attachment = NetworkAttachmentConfig { target, ..Default::default() };
            spec.task.get_or_insert_default().networks = vec![attachment];
        }
        let Some(container) = container(spec) else { return Ok(()) };
        container.secrets.retain(|one| !self.secrets_removed.contains(&one.secret_name));
        container.configs.retain(|one| !self.configs_removed.contains(&one.config_name));
        for Reference { name, file } in &self.secrets {
            container.secrets.push(SecretReference {
                secret_id: client.secret(name).await?.id,
                secret_name: name.clone(),
                target: Some(secret_reference::Target::File(target(file))),
            });
        }
        for Reference { name, file } in &self.configs {
            container.configs.push(ConfigReference {
                config_id: client.config(name).await?.id,
                config_name: name.clone(),
                target: Some(config_reference::Target::File(target(file))),
            });
        }
        Ok(())
    }
}

fn target(file: &str) -> FileTarget {
    FileTarget { name: file.to_owned(), mode: FILE_MODE, ..FileTarget::default() }
}

fn container(spec: &mut ServiceSpec) -> Option<&mut ContainerSpec> {
    match spec.task.as_mut()?.runtime.as_mut()? {
        Runtime::Container(container) => Some(container),
        Runtime::Attachment(_) | Runtime::Generic(_) => None,
    }
}
