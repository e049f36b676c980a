//! The page of `service inspect` (cli.md §3.3).

use std::fmt::Write;

use protocol::wire::{
    ContainerSpec, Placement, PortConfig, Resources, Service, TaskSpec, UpdateStatus,
    config_reference, generic_resource::Resource, mount, secret_reference, task_spec::Runtime,
    update_status::UpdateState,
};

use crate::text::{self, human, table::Layout};

/// The image of a service's tasks.
pub(super) fn image(service: &Service) -> &str {
    match service.spec.as_ref().and_then(|spec| spec.task.as_ref()?.runtime.as_ref()) {
        Some(Runtime::Container(container)) => &container.image,
        Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => "",
    }
}

/// The whole page, without the table of tasks.
pub(super) fn page(service: &Service, replicas: &str) -> String {
    let spec = service.spec.clone().unwrap_or_default();
    let annotations = spec.annotations.unwrap_or_default();
    let task = spec.task.unwrap_or_default();
    let mut page = format!("ID\t: {}\nName\t: {}\n", service.id, annotations.name);
    if !annotations.labels.is_empty() {
        page.push_str("Labels\t\n");
        for (key, value) in &annotations.labels {
            let _ = writeln!(page, "  {key}\t: {value}");
        }
    }
    if !replicas.is_empty() {
        let _ = writeln!(page, "Replicas\t: {replicas}");
    }
    if let Some(status) = &service.update_status {
        page.push_str(&update_lines(status));
    }
    if !service.allocation_error.is_empty() {
        let _ = writeln!(page, "Allocation Error\t: {}", service.allocation_error);
    }
    page.push_str("Template\t\n");
    if let Some(Runtime::Container(container)) = &task.runtime {
        page.push_str(" Container\t\n");
        page.push_str(&container_lines(container, "  "));
        page.push_str(&placement_lines(task.placement.as_ref()));
        page.push_str(&resource_lines(&task));
        let ports = service.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
        page.push_str(&port_lines(ports));
        page.push_str(&mount_lines(container));
        page.push_str(&network_lines(&task));
        page.push_str(&reference_lines(container, true));
    }
    if let Some(driver) = &task.log_driver {
        let _ = writeln!(page, "  LogDriver\t: {}", driver.name);
        for (key, value) in &driver.options {
            let _ = writeln!(page, "    {key}\t: {value}");
        }
    }
    Layout::PAGE.align(&page)
}

fn update_lines(status: &UpdateStatus) -> String {
    let now = text::now();
    let mut lines = "Update Status\t\n".to_owned();
    let _ = writeln!(lines, " State\t: {}", status.state().as_str_name());
    if let Some(started) = &status.started_at {
        let _ = writeln!(lines, " Started\t: {}", human::relative(started, &now));
    }
    if let Some(completed) = &status.completed_at
        && status.state() == UpdateState::Completed
    {
        let _ = writeln!(lines, " Completed\t: {}", human::relative(completed, &now));
    }
    let _ = writeln!(lines, " Message\t: {}", status.message);
    lines
}

/// What runs in the container: image, command, arguments, environment.
pub(crate) fn container_lines(container: &ContainerSpec, indent: &str) -> String {
    let mut lines = format!("{indent}Image\t: {}\n", container.image);
    if !container.command.is_empty() {
        let command = human::quoted(&container.command.join(" "));
        let _ = writeln!(lines, "{indent}Command\t: {command}");
    }
    if !container.args.is_empty() {
        let _ = writeln!(lines, "{indent}Args\t: [{}]", container.args.join(", "));
    }
    if !container.env.is_empty() {
        let _ = writeln!(lines, "{indent}Env\t: [{}]", container.env.join(", "));
    }
    lines
}

fn placement_lines(placement: Option<&Placement>) -> String {
    match placement {
        Some(placement) if !placement.constraints.is_empty() => {
            format!("  Constraints\t: {}\n", placement.constraints.join(", "))
        }
        Some(_) | None => String::new(),
    }
}

fn resource_lines(task: &TaskSpec) -> String {
    let Some(resources) = &task.resources else { return String::new() };
    let mut lines = "  Resources\t\n".to_owned();
    let parts = [("Reservations", &resources.reservations), ("Limits", &resources.limits)];
    for (label, amounts) in parts {
        if let Some(amounts) = amounts {
            let _ = writeln!(lines, "    {label}:\t");
            lines.push_str(&amount_lines(amounts));
        }
    }
    lines
}

fn amount_lines(amounts: &Resources) -> String {
    let mut lines = String::new();
    if amounts.nano_cpus != 0 {
        let _ = writeln!(lines, "      CPU\t: {}", human::cpus(amounts.nano_cpus));
    }
    if amounts.memory_bytes != 0 {
        let _ = writeln!(lines, "      Memory\t: {}", human::bytes(amounts.memory_bytes));
    }
    if !amounts.generic.is_empty() {
        lines.push_str("      Generic Resources\t\n");
    }
    for generic in &amounts.generic {
        let _ = match &generic.resource {
            Some(Resource::NamedResourceSpec(named)) => {
                writeln!(lines, "        {}\t: {}", named.kind, named.value)
            }
            Some(Resource::DiscreteResourceSpec(counted)) => {
                writeln!(lines, "        {}\t: {}", counted.kind, counted.value)
            }
            None => Ok(()),
        };
    }
    lines
}

fn port_lines(ports: &[PortConfig]) -> String {
    if ports.is_empty() {
        return String::new();
    }
    let mut lines = "\nPorts:\n".to_owned();
    for port in ports {
        let _ = writeln!(lines, "    - Name\t= {}", port.name);
        let _ = writeln!(lines, "      Protocol\t= {}", port.protocol().as_str_name());
        let _ = writeln!(lines, "      Port\t= {}", port.target_port);
        let _ = writeln!(lines, "      SwarmPort\t= {}", port.published_port);
    }
    lines
}

fn mount_lines(container: &ContainerSpec) -> String {
    if container.mounts.is_empty() {
        return String::new();
    }
    let mut lines = "  Mounts:\n".to_owned();
    for mount in &container.mounts {
        let kind = match mount.r#type() {
            mount::Type::Bind => "bind",
            mount::Type::Volume => "volume",
            mount::Type::Tmpfs => "tmpfs",
            mount::Type::Npipe => "npipe",
            mount::Type::Cluster => "cluster",
        };
        let _ = writeln!(lines, "    - target = {}", mount.target);
        let _ = writeln!(lines, "      source = {}", mount.source);
        let _ = writeln!(lines, "      readonly = {}", mount.readonly);
        let _ = writeln!(lines, "      type = {kind}");
    }
    lines
}

fn network_lines(task: &TaskSpec) -> String {
    let networks: Vec<_> = task.networks.iter().map(|network| network.target.as_str()).collect();
    match networks[..] {
        [] => String::new(),
        _ => format!("  Networks: {}\n", networks.join(" ")),
    }
}

/// The secrets and configs of a container, with the files that they become; `with_ids` says
/// whether the ids are of interest.
pub(crate) fn reference_lines(container: &ContainerSpec, with_ids: bool) -> String {
    let mut lines = String::new();
    let line = |lines: &mut String, name: &str, id: &str, target: &str| {
        let id = if with_ids { format!("@{id}") } else { String::new() };
        let _ = writeln!(lines, "    [FILE] {name}{id}:{target}");
    };
    if !container.secrets.is_empty() {
        lines.push_str("  Secrets:\n");
    }
    for secret in &container.secrets {
        if let Some(secret_reference::Target::File(file)) = &secret.target {
            line(&mut lines, &secret.secret_name, &secret.secret_id, &file.name);
        }
    }
    if !container.configs.is_empty() {
        lines.push_str("  Configs:\n");
    }
    for config in &container.configs {
        match &config.target {
            Some(config_reference::Target::File(file)) => {
                line(&mut lines, &config.config_name, &config.config_id, &file.name);
            }
            Some(config_reference::Target::Runtime(_)) => {
                let id = if with_ids { format!("@{}", config.config_id) } else { String::new() };
                let _ = writeln!(lines, "    [RUNTIME] {}{id}", config.config_name);
            }
            None => {}
        }
    }
    lines
}
