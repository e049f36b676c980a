//! What a task's limits mean in control groups (executor.md §2), decided without looking at the
//! machine.

use std::{collections::BTreeMap, path::PathBuf};

use protocol::wire::{self, task_spec::Runtime};

use super::hierarchies::{Controller, Hierarchies, Version};
use crate::shim::{ControlGroup, Setting};

/// The time over which CPU time is counted, in microseconds.
const PERIOD_US: i64 = 100_000;

/// The shortest share of that time which the kernel takes; a smaller one is counted over a second.
const QUOTA_US_MIN: i64 = 1_000;
const LONG_PERIOD_US: i64 = 1_000_000;

const NANOS_PER_CPU: i128 = 1_000_000_000;

/// What a task may use at most; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Limits {
    memory_bytes: i64,
    /// Beside the memory; without it, as much again.
    swap_bytes: Option<i64>,
    nano_cpus: i64,
    pids: i64,
}

impl Limits {
    pub(super) fn of(task: &wire::Task) -> Self {
        let spec = task.spec.as_ref();
        let resources = spec.and_then(|spec| spec.resources.as_ref());
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let pids = match spec.and_then(|spec| spec.runtime.as_ref()) {
            Some(Runtime::Container(container)) => container.pids_limit,
            Some(Runtime::Attachment(_) | Runtime::Generic(_)) | None => 0,
        };
        Self {
            memory_bytes: limits.map_or(0, |limits| limits.memory_bytes).max(0),
            swap_bytes: resources.and_then(|resources| resources.swap_bytes),
            nano_cpus: limits.map_or(0, |limits| limits.nano_cpus).max(0),
            pids: pids.max(0),
        }
    }

    fn has(&self, controller: Controller) -> bool {
        match controller {
            Controller::Memory => self.memory_bytes > 0,
            Controller::Cpu => self.nano_cpus > 0,
            Controller::Pids => self.pids > 0,
        }
    }

    /// Returns the limits that will not hold on a machine, by name.
    pub(super) fn unmet(&self, hierarchies: &Hierarchies) -> Vec<&'static str> {
        let missing = hierarchies.missing.keys();
        missing.filter(|controller| self.has(**controller)).map(|found| found.name()).collect()
    }

    /// Returns the groups that a task joins. It always has one where processes are counted, so
    /// that whatever becomes of its shim, its processes can be found.
    pub(super) fn control_groups(
        &self,
        task_id: &str,
        hierarchies: &Hierarchies,
    ) -> Vec<ControlGroup> {
        let mut groups: BTreeMap<PathBuf, Vec<Setting>> = BTreeMap::new();
        for (controller, place) in &hierarchies.places {
            if self.has(*controller) || *controller == Controller::Pids {
                // The name cannot be that of a file which every group has.
                let directory = place.folder.join(format!("task-{task_id}"));
                let settings = groups.entry(directory).or_default();
                settings.extend(self.settings(*controller, place.version));
            }
        }
        let group = |(directory, settings): (PathBuf, _)| ControlGroup {
            directory: directory.to_string_lossy().into_owned(),
            settings,
        };
        groups.into_iter().map(group).collect()
    }

    fn settings(&self, controller: Controller, version: Version) -> Vec<Setting> {
        if !self.has(controller) {
            return Vec::new();
        }
        match (controller, version) {
            (Controller::Memory, Version::One) => {
                let both = match self.swap() {
                    Some(swap) => self.memory_bytes.saturating_add(swap).to_string(),
                    None => "-1".to_owned(),
                };
                let memory = self.memory_bytes.to_string();
                vec![
                    required("memory.limit_in_bytes", memory),
                    optional("memory.memsw.limit_in_bytes", both),
                ]
            }
            (Controller::Memory, Version::Two) => {
                let swap = self.swap().map_or("max".to_owned(), |swap| swap.to_string());
                let memory = self.memory_bytes.to_string();
                vec![required("memory.max", memory), optional("memory.swap.max", swap)]
            }
            (Controller::Cpu, version) => {
                let (quota, period) = self.cpu_time();
                match version {
                    Version::One => vec![
                        required("cpu.cfs_period_us", period.to_string()),
                        required("cpu.cfs_quota_us", quota.to_string()),
                    ],
                    Version::Two => vec![required("cpu.max", format!("{quota} {period}"))],
                }
            }
            (Controller::Pids, Version::One | Version::Two) => {
                vec![required("pids.max", self.pids.to_string())]
            }
        }
    }

    /// How much swap goes with the memory; none is no limit.
    fn swap(&self) -> Option<i64> {
        match self.swap_bytes {
            None => Some(self.memory_bytes),
            Some(bytes) => (bytes >= 0).then_some(bytes),
        }
    }

    /// CPU time and the time over which it is counted, in microseconds.
    fn cpu_time(&self) -> (i64, i64) {
        let quota = |period: i64| {
            let quota = i128::from(self.nano_cpus) * i128::from(period) / NANOS_PER_CPU;
            i64::try_from(quota).unwrap_or(i64::MAX)
        };
        match quota(PERIOD_US) {
            short if short < QUOTA_US_MIN => {
                (quota(LONG_PERIOD_US).max(QUOTA_US_MIN), LONG_PERIOD_US)
            }
            usual => (usual, PERIOD_US),
        }
    }
}

fn required(file: &str, value: String) -> Setting {
    Setting { file: file.to_owned(), value, optional: false }
}

fn optional(file: &str, value: String) -> Setting {
    Setting { optional: true, ..required(file, value) }
}

#[cfg(test)]
mod tests {
    use super::{super::hierarchies::Place, *};

    const MIB: i64 = 1 << 20;

    fn hierarchies(version: Version) -> Hierarchies {
        let place = |controller: Controller| {
            let folder = match version {
                Version::One => format!("/{}/swarm", controller.name()),
                Version::Two => "/unified/swarm".to_owned(),
            };
            (controller, Place { version, folder: folder.into() })
        };
        Hierarchies { places: Controller::ALL.map(place).into(), missing: BTreeMap::new() }
    }

    /// One line for a group, its settings behind it.
    fn groups(limits: Limits, hierarchies: &Hierarchies) -> Vec<String> {
        let line = |group: ControlGroup| {
            let settings = group.settings.iter().map(|setting| {
                let mark = if setting.optional { "?" } else { "" };
                format!(" {}{mark}={}", setting.file, setting.value)
            });
            group.directory + &settings.collect::<String>()
        };
        limits.control_groups("t", hierarchies).into_iter().map(line).collect()
    }

    const ALL: Limits =
        Limits { memory_bytes: 8 * MIB, swap_bytes: None, nano_cpus: 1_500_000_000, pids: 7 };

    #[test]
    fn limits_become_settings_of_either_version() {
        let expected = [
            "/cpu/swarm/task-t cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000",
            "/memory/swarm/task-t memory.limit_in_bytes=8388608 \
             memory.memsw.limit_in_bytes?=16777216",
            "/pids/swarm/task-t pids.max=7",
        ];
        assert_eq!(groups(ALL, &hierarchies(Version::One)), expected);
        let expected = ["/unified/swarm/task-t memory.max=8388608 memory.swap.max?=8388608 \
                         cpu.max=150000 100000 pids.max=7"];
        assert_eq!(groups(ALL, &hierarchies(Version::Two)), expected);
    }

    #[test]
    fn a_task_without_limits_is_counted_all_the_same() {
        let none = Limits::default();
        assert_eq!(groups(none, &hierarchies(Version::One)), ["/pids/swarm/task-t"]);
        assert_eq!(groups(none, &hierarchies(Version::Two)), ["/unified/swarm/task-t"]);
        assert_eq!(groups(none, &Hierarchies::default()), Vec::<String>::new());
    }

    #[test]
    fn swap_is_what_was_asked_for() {
        for (swap, one, two) in [
            (Some(0), "8388608", "0"),
            (Some(5 * MIB), "13631488", "5242880"),
            (Some(-1), "-1", "max"),
        ] {
            let limits = Limits { swap_bytes: swap, memory_bytes: 8 * MIB, ..Limits::default() };
            let found = limits.settings(Controller::Memory, Version::One);
            assert_eq!(found[1].value, one);
            assert_eq!(limits.settings(Controller::Memory, Version::Two)[1].value, two);
        }
    }

    #[test]
    fn small_shares_of_a_cpu_are_counted_over_a_second() {
        for (nano_cpus, expected) in [
            (1_000_000_000, (100_000, 100_000)),
            (10_000_000, (1_000, 100_000)),
            (9_000_000, (9_000, 1_000_000)),
            (1_000_000, (1_000, 1_000_000)),
            (1, (1_000, 1_000_000)),
            (i64::MAX, (922_337_203_685_477, 100_000)),
        ] {
            let limits = Limits { nano_cpus, ..Limits::default() };
            assert_eq!(limits.cpu_time(), expected, "{nano_cpus}");
        }
    }

    #[test]
    fn a_limit_that_cannot_hold_is_named() {
        let mut some = hierarchies(Version::One);
        some.places.remove(&Controller::Memory);
        some.missing.insert(Controller::Memory, "it is off".to_owned());
        assert_eq!(ALL.unmet(&some), ["memory"]);
        assert_eq!(Limits { memory_bytes: 0, ..ALL }.unmet(&some), Vec::<&str>::new());
    }

    #[test]
    fn limits_are_read_from_the_spec() {
        let resources = wire::ResourceRequirements {
            limits: Some(wire::Resources {
                memory_bytes: 8 * MIB,
                nano_cpus: 1_500_000_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        let container = wire::ContainerSpec { pids_limit: 7, ..Default::default() };
        let spec = wire::TaskSpec {
            resources: Some(resources),
            runtime: Some(Runtime::Container(container)),
            ..Default::default()
        };
        let task = wire::Task { spec: Some(spec), ..Default::default() };
        assert_eq!(Limits::of(&task), ALL);
        assert_eq!(Limits::of(&wire::Task::default()), Limits::default());
    }
}
