//! The flags of `service create` and `service update`, and what they change in a spec.
//!
//! A flag takes effect only when it is given; lists replace what was there (cli.md §3.1).

use clap::{Args, ValueEnum};
use protocol::wire::{
    Annotations, ContainerSpec, Driver, GlobalService, Placement, ReplicatedService,
    ResourceRequirements, Resources, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig,
    restart_policy::RestartCondition,
    service_spec,
    task_spec::Runtime,
    update_config::{FailureAction, UpdateOrder},
};

use crate::{
    error::Error,
    value::{self, Invalid, List},
};

/// How many tasks a service runs, and where.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Replicated,
    Global,
}

/// `service create`.
#[derive(Args)]
pub(crate) struct Create {
    /// One of replicated, global
    #[arg(long, value_enum, default_value = "replicated")]
    mode: Mode,
    #[command(flatten)]
    changes: Changes,
}

impl Create {
    /// The spec of the new service.
    pub(super) fn spec(self) -> Result<ServiceSpec, Error> {
        if self.changes.name.is_none() || self.changes.image.is_none() {
            return Err(Error::usage("--name and --image are mandatory"));
        }
        let mode = match self.mode {
            Mode::Replicated => service_spec::Mode::Replicated(ReplicatedService { replicas: 1 }),
            Mode::Global => service_spec::Mode::Global(GlobalService {}),
        };
        let task = TaskSpec {
            runtime: Some(Runtime::Container(ContainerSpec::default())),
            ..TaskSpec::default()
        };
        let mut spec = ServiceSpec { task: Some(task), mode: Some(mode), ..ServiceSpec::default() };
        self.changes.apply(&mut spec)?;
        Ok(spec)
    }
}

/// `service update`.
#[derive(Args)]
pub(crate) struct Update {
    /// Service ID or name
    service: String,
    /// Replace the tasks even if nothing in them changes
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    changes: Changes,
}

impl Update {
    /// The service, and what changes in it; wrong values are found before a manager is asked.
    pub(super) fn changes(self) -> Result<(String, Changes), Error> {
        let mut changes = self.changes;
        changes.force_update = self.force;
        changes.apply(&mut ServiceSpec {
            mode: Some(service_spec::Mode::Replicated(ReplicatedService::default())),
            ..ServiceSpec::default()
        })?;
        Ok((self.service, changes))
    }
}

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
    /// Memory limit (64m, 1g)
    #[arg(long, allow_hyphen_values = true)]
    memory_limit: Option<String>,
    /// Memory that is reserved
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// CPU limit (0.5, 1/2)
    #[arg(long, allow_hyphen_values = true)]
    cpu_limit: Option<String>,
    /// CPUs that are reserved
    #[arg(long, allow_hyphen_values = true)]
    cpu_reservation: Option<String>,
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
    /// Log driver options (key=value)
    #[arg(long, allow_hyphen_values = true, requires = "log_driver")]
    log_opt: Option<Vec<List>>,
    #[arg(skip)]
    force_update: bool,
}

/// How tasks are replaced.
#[derive(Args, Clone, Default)]
struct UpdateFlags {
    /// Tasks replaced at once; 0 is all
    #[arg(long)]
    update_parallelism: Option<u64>,
    /// Delay between replacements
    #[arg(long, allow_hyphen_values = true)]
    update_delay: Option<String>,
    /// What a failure does: pause, continue or rollback
    #[arg(long, allow_hyphen_values = true)]
    update_on_failure: Option<String>,
    /// Order: stop-first or start-first
    #[arg(long, allow_hyphen_values = true)]
    update_order: Option<String>,
}

/// How a replacement is taken back.
#[derive(Args, Clone, Default)]
struct RollbackFlags {
    /// Tasks rolled back at once; 0 is all
    #[arg(long)]
    rollback_parallelism: Option<u64>,
    /// Delay between rollbacks
    #[arg(long, allow_hyphen_values = true)]
    rollback_delay: Option<String>,
    /// What a failure does: pause or continue
    #[arg(long, allow_hyphen_values = true)]
    rollback_on_failure: Option<String>,
    /// Order: stop-first or start-first
    #[arg(long, allow_hyphen_values = true)]
    rollback_order: Option<String>,
}

impl Changes {
    /// Changes a spec as the flags say.
    pub(super) fn apply(&self, spec: &mut ServiceSpec) -> Result<(), Error> {
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
        self.apply_resources(task)?;
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
        Ok(())
    }

    fn apply_resources(&self, task: &mut TaskSpec) -> Result<(), Error> {
        let amounts = [
            (&self.memory_limit, &self.cpu_limit, limits as fn(&mut _) -> &mut Resources),
            (&self.memory_reservation, &self.cpu_reservation, reservations),
        ];
        for (memory, cpus, of) in amounts {
            if let Some(memory) = memory {
                let bytes = value::memory_bytes(memory)?;
                of(task.resources.get_or_insert_default()).memory_bytes = bytes;
            }
            if let Some(cpus) = cpus {
                let nano_cpus = value::nano_cpus(cpus)?;
                of(task.resources.get_or_insert_default()).nano_cpus = nano_cpus;
            }
        }
        Ok(())
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

impl UpdateFlags {
    fn apply(&self, config: &mut Option<UpdateConfig>) -> Result<(), Error> {
        if let Some(parallelism) = self.update_parallelism {
            config.get_or_insert_default().parallelism = parallelism;
        }
        if let Some(delay) = &self.update_delay {
            config.get_or_insert_default().delay = Some(value::duration(delay)?);
        }
        if let Some(action) = &self.update_on_failure {
            let action = failure_action("--update-on-failure", action, true)?;
            config.get_or_insert_default().failure_action = action as i32;
        }
        if let Some(order) = &self.update_order {
            let order = update_order("--update-order", order)?;
            config.get_or_insert_default().order = order as i32;
        }
        Ok(())
    }
}

impl RollbackFlags {
    fn apply(&self, config: &mut Option<UpdateConfig>) -> Result<(), Error> {
        if let Some(parallelism) = self.rollback_parallelism {
            config.get_or_insert_default().parallelism = parallelism;
        }
        if let Some(delay) = &self.rollback_delay {
            config.get_or_insert_default().delay = Some(value::duration(delay)?);
        }
        if let Some(action) = &self.rollback_on_failure {
            let action = failure_action("--rollback-on-failure", action, false)?;
            config.get_or_insert_default().failure_action = action as i32;
        }
        if let Some(order) = &self.rollback_order {
            let order = update_order("--rollback-order", order)?;
            config.get_or_insert_default().order = order as i32;
        }
        Ok(())
    }
}

fn failure_action(flag: &str, text: &str, rollback: bool) -> Result<FailureAction, Invalid> {
    match text {
        "pause" => Ok(FailureAction::Pause),
        "continue" => Ok(FailureAction::Continue),
        "rollback" if rollback => Ok(FailureAction::Rollback),
        _ => Err(Invalid::new(format!("{flag} value must be pause or continue"))),
    }
}

fn update_order(flag: &str, text: &str) -> Result<UpdateOrder, Invalid> {
    match text {
        "stop-first" => Ok(UpdateOrder::StopFirst),
        "start-first" => Ok(UpdateOrder::StartFirst),
        _ => Err(Invalid::new(format!("{flag} value must be stop-first or start-first"))),
    }
}

fn limits(resources: &mut ResourceRequirements) -> &mut Resources {
    resources.limits.get_or_insert_default()
}

fn reservations(resources: &mut ResourceRequirements) -> &mut Resources {
    resources.reservations.get_or_insert_default()
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
