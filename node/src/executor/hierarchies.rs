//! Which control groups this machine lets us use: version 1, version 2, both side by side, or
//! none.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::errno::Errno;

/// How many groups were made to see whether one can be.
static PROBES: AtomicU64 = AtomicU64::new(0);

/// What can be limited.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// The file that holds its limit: a kernel may know the controller and not the limit.
    fn file(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, Version::One) => "memory.limit_in_bytes",
            (Self::Memory, Version::Two) => "memory.max",
            (Self::Cpu, Version::One) => "cpu.cfs_quota_us",
            (Self::Cpu, Version::Two) => "cpu.max",
            (Self::Pids, Version::One | Version::Two) => "pids.max",
        }
    }
}

/// How a controller is spoken to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Version {
    One,
    Two,
}

/// Where the groups of tasks are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) folder: PathBuf,
}

/// The controllers that can be used, and why the others cannot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Hierarchies {
    pub(super) places: BTreeMap<Controller, Place>,
    pub(super) missing: BTreeMap<Controller, String>,
}

impl Hierarchies {
    /// Looks at the machine, and makes the group `parent` at the top of every hierarchy that is
    /// used. Like the groups of engines it stays there for the next daemon: it is not below the
    /// daemon's own, which whoever stops the daemon may end as a whole.
    pub(super) fn find(parent: &str) -> Self {
        let mounts = fs::read("/proc/self/mountinfo").map(|text| mounts(&text)).unwrap_or_default();
        let mut found = Self::default();
        for controller in Controller::ALL {
            match place(controller, &mounts, parent) {
                Ok(place) => drop(found.places.insert(controller, place)),
                Err(reason) => drop(found.missing.insert(controller, reason)),
            }
        }
        found
    }

    /// What the node says about them.
    pub(super) fn describe(&self) -> String {
        let versions: Vec<_> = self.places.values().map(|place| place.version).collect();
        let version = match (versions.iter().min(), versions.iter().max()) {
            (Some(Version::One), Some(Version::One)) => "v1",
            (Some(Version::Two), Some(Version::Two)) => "v2",
            (Some(_), Some(_)) => "hybrid",
            (None, _) | (_, None) => {
                let reason = self.missing.values().next().map_or("not looked for", String::as_str);
                return format!("none: {reason}");
            }
        };
        let missing: Vec<_> = self.missing.keys().map(|controller| controller.name()).collect();
        if missing.is_empty() {
            version.to_owned()
        } else {
            format!("{version} without {}", missing.join(", "))
        }
    }
}

/// A hierarchy that is mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mount {
    version: Version,
    top: PathBuf,
    /// The controllers of version 1, among other options.
    options: Vec<String>,
}

/// Reads `/proc/self/mountinfo`: fields, a dash, and further fields.
fn mounts(text: &[u8]) -> Vec<Mount> {
    let text = String::from_utf8_lossy(text);
    let parse = |line: &str| {
        let (fields, behind) = line.split_once(" - ")?;
        let mut behind = behind.split(' ');
        let version = match behind.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let top = PathBuf::from(unescape(fields.split(' ').nth(4)?));
        let options = behind.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
        Some(Mount { version, top, options })
    };
    text.lines().filter_map(parse).collect()
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code.filter(u8::is_ascii), part.get(3..)) {
            (Some(code), Some(rest)) => {
                path.push(char::from(code));
                path.push_str(rest);
            }
            _ => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path
}

/// Makes the place for a controller, or says why there is none.
fn place(controller: Controller, mounts: &[Mount], parent: &str) -> Result<Place, String> {
    let name = controller.name();
    let offers = |mount: &&Mount| match mount.version {
        Version::One => mount.options.iter().any(|option| option == name),
        Version::Two => is_listed(&mount.top.join("cgroup.controllers"), name),
    };
    let mount = mounts.iter().find(offers);
    let mount = mount.ok_or_else(|| format!("no hierarchy has the controller {name}"))?;
    let folder = mount.top.join(parent);
    let failed = |path: &Path, error: &io::Error| {
        let reason = error.raw_os_error().map(|number| Errno::from_raw(number).desc());
        format!("{}: {}", path.display(), reason.unwrap_or("it cannot be used"))
    };
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    if mount.version == Version::Two {
        for group in [mount.top.as_path(), &folder] {
            let enabled = group.join("cgroup.subtree_control");
            if !is_listed(&enabled, name) {
                fs::write(&enabled, format!("+{name}"))
                    .map_err(|error| failed(&enabled, &error))?;
            }
        }
    }
    // Several may look at a time.
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let probe = folder.join(format!("probe.{}.{number}", process::id()));
    fs::create_dir_all(&probe).map_err(|error| failed(&probe, &error))?;
    let file = controller.file(mount.version);
    let offered = probe.join(file).exists();
    fs::remove_dir(&probe).ok();
    if offered {
        Ok(Place { version: mount.version, folder })
    } else {
        Err(format!("this kernel has no {file}"))
    }
}

fn is_listed(file: &Path, name: &str) -> bool {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).split_ascii_whitespace().any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(version: Version, top: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount { version, top: top.into(), options }
    }

    #[test]
    fn hierarchies_are_found_among_mounts() {
        let text = "\
            22 1 0:20 / / rw - ext4 /dev/root rw\n\
            31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 /x /a\\040b\\134 ro,nosuid - cgroup cgroup rw,pids\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
            nonsense\n";
        let expected = [
            mount(Version::One, "/sys/fs/cgroup/cpu,cpuacct", &["rw", "cpu", "cpuacct"]),
            mount(Version::One, "/a b\\", &["rw", "pids"]),
            mount(Version::Two, "/sys/fs/cgroup/unified", &["rw"]),
        ];
        assert_eq!(mounts(text.as_bytes()), expected);
    }

    #[test]
    fn the_description_names_what_is_there_and_what_is_not() {
        #[track_caller]
        fn check(versions: [Option<Version>; 3], expected: &str) {
            let mut found = Hierarchies::default();
            for (controller, version) in Controller::ALL.into_iter().zip(versions) {
                match version {
                    Some(version) => {
                        let place = Place { version, folder: "/x".into() };
                        found.places.insert(controller, place);
                    }
                    None => {
                        found.missing.insert(controller, format!("{} is off", controller.name()));
                    }
                }
            }
            assert_eq!(found.describe(), expected);
        }
        let (one, two) = (Some(Version::One), Some(Version::Two));
        check([one, one, one], "v1");
        check([two, two, two], "v2");
        check([one, two, one], "hybrid");
        check([two, None, two], "v2 without cpu");
        check([None, one, None], "v1 without memory, pids");
        check([None, None, None], "none: memory is off");
    }

    /// A hierarchy of files that are only files: what is written can be looked at.
    fn unified(controllers: &str) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("cgroup.controllers"), controllers).unwrap();
        top
    }

    #[test]
    fn controllers_of_version_2_are_enabled_down_to_the_tasks() {
        let top = unified("cpu memory\n");
        let mounts = [mount(Version::Two, top.path().to_str().unwrap(), &["rw"])];
        let missing = place(Controller::Pids, &mounts, "parent").unwrap_err();
        assert_eq!(missing, "no hierarchy has the controller pids");
        // There is no kernel to put the file into the new group.
        let missing = place(Controller::Memory, &mounts, "parent").unwrap_err();
        assert_eq!(missing, "this kernel has no memory.max");
        for group in ["", "parent"] {
            let enabled = top.path().join(group).join("cgroup.subtree_control");
            assert_eq!(fs::read_to_string(enabled).unwrap(), "+memory", "{group}");
        }
        assert_eq!(fs::read_dir(top.path().join("parent")).unwrap().count(), 1, "no probe is left");
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let top = unified("memory");
        fs::write(top.path().join("parent"), "").unwrap();
        let mounts = [mount(Version::Two, top.path().to_str().unwrap(), &["rw"])];
        let reason = place(Controller::Memory, &mounts, "parent").unwrap_err();
        assert_eq!(reason, format!("{}/parent: File exists", top.path().display()));
    }

    proptest! {
        #[test]
        fn no_file_panics(text: Vec<u8>, point: String, options: String) {
            mounts(&text);
            mounts(format!("1 2 0:3 / {point} rw - cgroup x {options}").as_bytes());
        }
    }
}
