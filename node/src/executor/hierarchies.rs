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
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self::find_among(&mounts, parent, &|group| fs::create_dir_all(group))
    }

    /// Looks at hierarchies that are mounted as `/proc/self/mountinfo` says, where `make` makes
    /// groups.
    fn find_among(mountinfo: &[u8], parent: &str, make: &dyn Fn(&Path) -> io::Result<()>) -> Self {
        let mounts = mounts(mountinfo);
        let mut found = Self::default();
        for controller in Controller::ALL {
            match place(controller, &mounts, parent, make) {
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

/// Makes the place for a controller in the first hierarchy that lets us, or says why none does.
fn place(
    controller: Controller,
    mounts: &[Mount],
    parent: &str,
    make: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Place, String> {
    let name = controller.name();
    let offers = |mount: &&Mount| match mount.version {
        Version::One => mount.options.iter().any(|option| option == name),
        Version::Two => is_listed(&mount.top.join("cgroup.controllers"), name),
    };
    // One may be mounted several times, and where others are kept from changing it.
    let mut refused = None;
    for mount in mounts.iter().filter(offers) {
        match place_in(mount, controller, parent, make) {
            Ok(place) => return Ok(place),
            Err(reason) => drop(refused.get_or_insert(reason)),
        }
    }
    Err(refused.unwrap_or_else(|| format!("no hierarchy has the controller {name}")))
}

fn place_in(
    mount: &Mount,
    controller: Controller,
    parent: &str,
    make: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Place, String> {
    let name = controller.name();
    let folder = mount.top.join(parent);
    let failed = |path: &Path, error: &io::Error| {
        let reason = error.raw_os_error().map(|number| Errno::from_raw(number).desc());
        format!("{}: {}", path.display(), reason.unwrap_or("it cannot be used"))
    };
    make(&folder).map_err(|error| failed(&folder, &error))?;
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
    make(&probe).map_err(|error| failed(&probe, &error))?;
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

    /// Hierarchies of files that are only files, and a kernel that puts `files` into every group
    /// that is made below them.
    struct Fake {
        folder: tempfile::TempDir,
        mountinfo: String,
        files: &'static [&'static str],
    }

    impl Fake {
        fn new(files: &'static [&'static str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder, mountinfo: String::new(), files }
        }

        fn top(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn mount(&mut self, kind: &str, name: &str, options: &str) {
            let top = self.top(name);
            fs::create_dir(&top).unwrap();
            let line = format!("1 2 0:3 / {} rw - {kind} {kind} rw,{options}\n", top.display());
            self.mountinfo.push_str(&line);
        }

        /// A hierarchy of version 1.
        fn one(mut self, name: &str, controllers: &str) -> Self {
            self.mount("cgroup", name, controllers);
            self
        }

        /// The hierarchy of version 2.
        fn two(mut self, controllers: &str) -> Self {
            self.mount("cgroup2", "two", "nsdelegate");
            fs::write(self.top("two/cgroup.controllers"), controllers).unwrap();
            self
        }

        fn find(&self) -> Hierarchies {
            let make = |group: &Path| {
                fs::create_dir_all(group)?;
                self.files.iter().try_for_each(|file| fs::write(group.join(file), ""))
            };
            Hierarchies::find_among(self.mountinfo.as_bytes(), "swarm", &make)
        }

        /// What the node says, without the folder that the test is in.
        fn note(&self) -> String {
            self.find().describe().replace(self.folder.path().to_str().unwrap(), "")
        }
    }

    const ONE: &[&str] = &["memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max"];
    const TWO: &[&str] = &["memory.max", "cpu.max", "pids.max"];
    const BOTH: &[&str] = &["memory.limit_in_bytes", "cpu.max", "pids.max"];

    #[test]
    fn the_node_notes_what_its_hierarchies_offer() {
        let one = |files| Fake::new(files).one("cpu", "cpu,cpuacct").one("pids", "pids");
        let two = |files| Fake::new(files).two("cpuset cpu io memory pids\n");
        for (fake, expected) in [
            (one(ONE).one("memory", "memory"), "v1"),
            (one(ONE), "v1 without memory"),
            (one(&["memory.limit_in_bytes", "pids.max"]).one("memory", "memory"), "v1 without cpu"),
            (two(TWO), "v2"),
            (two(&["memory.max", "cpu.max"]), "v2 without pids"),
            (Fake::new(TWO).two("memory"), "v2 without cpu, pids"),
            (Fake::new(BOTH).one("memory", "memory").two("cpu pids"), "hybrid"),
            (Fake::new(BOTH).one("pids", "pids").two("cpu"), "hybrid without memory"),
            // As most machines of the transition have it: version 2 is there and has nothing.
            (one(ONE).one("memory", "memory").two(""), "v1"),
            (two(&[]), "none: this kernel has no memory.max"),
            (Fake::new(TWO), "none: no hierarchy has the controller memory"),
            (Fake::new(TWO).two(""), "none: no hierarchy has the controller memory"),
        ] {
            assert_eq!(fake.note(), expected, "{}", fake.mountinfo);
        }
    }

    #[test]
    fn controllers_that_may_not_be_used_say_why() {
        // Files in the place of folders, and the other way round, refuse whatever is tried.
        let fake = Fake::new(TWO).two("memory");
        fs::create_dir(fake.top("two/cgroup.subtree_control")).unwrap();
        assert_eq!(fake.note(), "none: /two/cgroup.subtree_control: Is a directory");
        let fake = Fake::new(ONE).one("memory", "memory").one("pids", "pids");
        fs::write(fake.top("memory/swarm"), "").unwrap();
        let found = fake.find();
        assert_eq!(found.describe(), "v1 without memory, cpu");
        let reason = format!("{}: File exists", fake.top("memory/swarm").display());
        assert_eq!(found.missing[&Controller::Memory], reason);
        assert_eq!(found.places[&Controller::Pids].folder, fake.top("pids/swarm"));
    }

    #[test]
    fn a_hierarchy_that_refuses_is_passed_over_for_the_next() {
        let fake = Fake::new(ONE).one("first", "pids").one("second", "pids");
        fs::write(fake.top("first/swarm"), "").unwrap();
        assert_eq!(fake.find().places[&Controller::Pids].folder, fake.top("second/swarm"));
        fs::remove_dir_all(fake.top("second")).unwrap();
        fs::write(fake.top("second"), "").unwrap();
        let reason = format!("{}: File exists", fake.top("first/swarm").display());
        assert_eq!(fake.find().missing[&Controller::Pids], reason, "the first reason is said");
    }

    #[test]
    fn controllers_of_version_2_are_enabled_down_to_the_tasks() {
        let fake = Fake::new(TWO).two("memory");
        fake.find();
        for group in ["two", "two/swarm"] {
            let enabled = fake.top(group).join("cgroup.subtree_control");
            assert_eq!(fs::read_to_string(enabled).unwrap(), "+memory", "{group}");
        }
    }

    #[test]
    fn no_probe_is_left() {
        let fake = Fake::new(&[]).two("memory");
        fake.find();
        let left = fs::read_dir(fake.top("two/swarm")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cgroup.subtree_control"]);
    }

    proptest! {
        #[test]
        fn no_file_panics(text: Vec<u8>, point: String, options: String) {
            mounts(&text);
            mounts(format!("1 2 0:3 / {point} rw - cgroup x {options}").as_bytes());
        }
    }
}
