//! What both verbs can change in a spec.

use clap::Args;
use protocol::wire::{
    Annotations, ContainerSpec, Driver, Placement, RestartPolicy, ServiceSpec, TaskSpec,
    restart_policy::RestartCondition, service_spec, task_spec::Runtime,
};

use super::{
    mounts::MountFlags,
    resources::ResourceFlags,
    rollout::{RollbackFlags, UpdateFlags},
};
use crate::{
    error::Error,
    value::{self, List},
};

/// The flags that both verbs share.
#[derive(Args, Clone, Default)]
pub(crate) struct Changes {
    /// Service name
    #[arg(long, allow_hyphen_values = true)]
    name: Option<String>,
    /// Service labels (key=value)
    #[arg(long, allow_hyphen_values = true)]
    label: Option<Vec<List>>,
    /// Number of tasks
    #[arg(long)]
    replicas: Option<u64>,
    /// Most tasks on one node
    #[arg(long)]
    replicas_max_per_node: Option<u64>,
    /// Image of the tasks; `host` runs them as plain processes
    #[arg(long, allow_hyphen_values = true)]
    image: Option<String>,
    /// Hostname of the tasks
    #[arg(long, allow_hyphen_values = true)]
    hostname: Option<String>,
    /// Command to run
    #[arg(long, allow_hyphen_values = true)]
    command: Option<Vec<List>>,
    /// Arguments of the command
    #[arg(long, allow_hyphen_values = true)]
    args: Option<Vec<List>>,
    /// Environment (KEY=VALUE)
    #[arg(long, allow_hyphen_values = true)]
    env: Option<Vec<List>>,
    /// Give the tasks a terminal
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,
    /// Keep standard input open
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    open_stdin: Option<bool>,
    /// Run an init inside the tasks
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Ports (name:target[/protocol][:published[/protocol]])
    #[arg(long, allow_hyphen_values = true)]
    ports: Option<Vec<List>>,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    mounts: MountFlags,
    /// Placement constraints (node.labels.key==value)
    #[arg(long, allow_hyphen_values = true)]
    constraint: Option<Vec<List>>,
    /// When tasks are restarted: none, failure or any
    #[arg(long, allow_hyphen_values = true)]
    restart_condition: Option<String>,
    /// Delay before a restart
    #[arg(long, allow_hyphen_values = true)]
    restart_delay: Option<String>,
    /// Most restarts before giving up; 0 is no limit
    #[arg(long)]
    restart_max_attempts: Option<u64>,
    /// Window in which restarts count
    #[arg(long, allow_hyphen_values = true)]
    restart_window: Option<String>,
    #[command(flatten)]
    update: UpdateFlags,
    #[command(flatten)]
    rollback: RollbackFlags,
    /// Log driver of the tasks
    #[arg(long, allow_hyphen_values = true)]
    log_driver: Option<String>,
    /// Log driver options (key=value); only read beside --log-driver
    #[arg(long, allow_hyphen_values = true)]
    log_opt: Option<Vec<List>>,
    #[arg(skip)]
    pub(super) force_update: bool,
    #[arg(skip)]
    pub(super) capabilities_added: Vec<String>,
    #[arg(skip)]
    pub(super) capabilities_dropped: Vec<String>,
}

impl Changes {
    pub(super) fn has_name_and_image(&self) -> bool {
        self.name.is_some() && self.image.is_some()
    }

    /// Changes a spec as the flags say.
    pub(crate) fn apply(&self, spec: &mut ServiceSpec) -> Result<(), Error> {
        self.apply_annotations(spec.annotations.get_or_insert_default())?;
        self.apply_replicas(spec)?;
        if let Some(ports) = List::join(self.ports.as_deref()) {
            let ports = ports.iter().map(|port| value::port(port)).collect::<Result<_, _>>()?;
            spec.endpoint.get_or_insert_default().ports = ports;
        }
        self.update.apply(&mut spec.update)?;
        self.rollback.apply(&mut spec.rollback)?;
        let task = spec.task.get_or_insert_default();
        self.apply_task(task)?;
        self.resources.apply(task)?;
        self.apply_restart(task)
    }

    fn apply_annotations(&self, annotations: &mut Annotations) -> Result<(), Error> {
        set(&mut annotations.name, self.name.as_ref());
        if let Some(labels) = List::join(self.label.as_deref()) {
            annotations.labels = value::labels(&labels)?;
        }
        Ok(())
    }

    fn apply_replicas(&self, spec: &mut ServiceSpec) -> Result<(), Error> {
        let replicated = match &mut spec.mode {
            Some(service_spec::Mode::Replicated(mode)) => Some(mode),
            _ => None,
        };
        let only =
            |flag| Error::usage(format!("--{flag} can only be specified in --mode replicated"));
        match (self.replicas, replicated) {
            (Some(replicas), Some(mode)) => mode.replicas = replicas,
            (Some(_), None) => return Err(only("replicas")),
            (None, None) if self.replicas_max_per_node.is_some() => {
                return Err(only("replicas-max-per-node"));
            }
            (None, _) => {}
        }
        if let Some(most) = self.replicas_max_per_node {
            let task = spec.task.get_or_insert_default();
            task.placement.get_or_insert_default().max_replicas = most;
        }
        Ok(())
    }

    fn apply_task(&self, task: &mut TaskSpec) -> Result<(), Error> {
        if let Some(constraints) = List::join(self.constraint.as_deref()) {
            task.placement.get_or_insert_with(Placement::default).constraints = constraints;
        }
        if let Some(name) = &self.log_driver {
            let options = List::join(self.log_opt.as_deref()).unwrap_or_default();
            let options = value::options(&options);
            task.log_driver = Some(Driver { name: name.clone(), options });
        }
        if self.force_update {
            task.force_update += 1;
        }
        let runtime = task.runtime.get_or_insert_with(|| Runtime::Container(Default::default()));
        let Runtime::Container(container) = runtime else {
            return Err(Error::usage("the tasks of this service are no containers"));
        };
        set(&mut container.image, self.image.as_ref());
        set(&mut container.hostname, self.hostname.as_ref());
        set(&mut container.command, List::join(self.command.as_deref()).as_ref());
        set(&mut container.args, List::join(self.args.as_deref()).as_ref());
        set(&mut container.env, List::join(self.env.as_deref()).as_ref());
        set(&mut container.tty, self.tty.as_ref());
        set(&mut container.open_stdin, self.open_stdin.as_ref());
        if self.init.is_some() {
            container.init = self.init;
        }
        self.apply_capabilities(container);
        self.mounts.apply(container)?;
        self.resources.apply_to_container(container)
    }

    /// What is added is dropped no longer, and the other way round.
    fn apply_capabilities(&self, container: &mut ContainerSpec) {
        let (add, drop) = (&mut container.capability_add, &mut container.capability_drop);
        move_all(&self.capabilities_added, drop, add);
        move_all(&self.capabilities_dropped, add, drop);
    }

    /// A policy without a condition would mean "never": one is always written out.
    fn apply_restart(&self, task: &mut TaskSpec) -> Result<(), Error> {
        let any = || RestartPolicy {
            condition: RestartCondition::Any as i32,
            ..RestartPolicy::default()
        };
        let restart = task.restart.get_or_insert_with(any);
        if let Some(condition) = &self.restart_condition {
            restart.condition = match condition.as_str() {
                "none" => RestartCondition::None,
                "failure" => RestartCondition::OnFailure,
                "any" => RestartCondition::Any,
                _ => {
                    let text = format!("invalid restart condition: {condition}");
                    return Err(Error::usage(text));
                }
            } as i32;
        }
        if let Some(delay) = &self.restart_delay {
            restart.delay = Some(value::duration(delay)?);
        }
        if let Some(window) = &self.restart_window {
            restart.window = Some(value::duration(window)?);
        }
        set(&mut restart.max_attempts, self.restart_max_attempts.as_ref());
        Ok(())
    }
}

fn move_all(names: &[String], from: &mut Vec<String>, to: &mut Vec<String>) {
    from.retain(|name| !names.contains(name));
    for name in names {
        if !to.contains(name) {
            to.push(name.clone());
        }
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
