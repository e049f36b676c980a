//! Faults as data: a seed draws all of them before its run begins, so that a run that failed can
//! be had again with fewer of them.

mod draw;

use std::{collections::BTreeSet, fmt, ops::Range, time::Duration};

pub use actors::{
    log::simulated::{Crash, Operation},
    supervision::testing::When,
};
pub use draw::draw;

/// One fault: when it begins, how long it lasts, and what it does. All times are whole virtual
/// milliseconds. Written with [`at`]; shown as the Rust that writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it does.
    pub harm: Harm,
}

/// What a fault does. Members are called by the numbers of their machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Members end, and start again when it is over.
    Crash {
        /// Which.
        members: BTreeSet<u64>,
        /// How.
        crash: Crash,
    },
    /// The power of a machine goes while its disk is at work, and comes back when it is over.
    PowerCut {
        /// Whose.
        member: u64,
        /// How many more times the disk is changed before.
        changes: u64,
    },
    /// Messages between these members and the others do not arrive.
    Partition {
        /// The one side.
        members: BTreeSet<u64>,
        /// Which messages.
        way: Way,
    },
    /// Every message takes up to so long, and may get lost or arrive twice.
    Weather(Weather),
    /// Every sync of a disk takes so long, in milliseconds.
    SlowDisk {
        /// Whose.
        member: u64,
        /// At least and less than.
        sync_millis: Range<u64>,
    },
    /// An operation of a disk fails: whoever needs it ends, and starts again when it is over.
    BrokenDisk {
        /// Whose.
        member: u64,
        /// Which operation.
        operation: Operation,
    },
    /// An actor dies at its next message.
    Death {
        /// Whose.
        member: u64,
        /// Its place in the tree of the member.
        actor: &'static str,
        /// Before or after it handles the message.
        when: When,
    },
    /// The group changes, as an operator asks for it.
    Change(Change),
    /// Nobody hears these agents, and they hear nobody.
    Silence {
        /// Which, by their numbers.
        agents: BTreeSet<u64>,
    },
    /// The wall clocks of machines are set, forward or back. Nobody sets them right again.
    Clock {
        /// Whose.
        members: BTreeSet<u64>,
        /// How far.
        seconds: i64,
    },
    /// So many processes of tasks end by themselves, with this exit code.
    Exits {
        /// How many.
        tasks: usize,
        /// How.
        code: i32,
    },
}

/// A change of the group. It goes on until it is done, has become pointless, or took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A machine that is no member begins anew as one.
    Joins(u64),
    /// A member is taken out for good.
    Leaves(u64),
    /// Whoever leads is taken out for good.
    LeaderLeaves,
    /// This member is to lead, or whoever the leader chooses.
    HandsOver(Option<u64>),
    /// A machine that was taken out starts again, with its old disk.
    ComesBack(u64),
}

/// Which messages a partition holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All.
    Both,
    /// Those to the members.
    In,
    /// Those from the members.
    Out,
}

/// What the network does beside carrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// How long a message takes at most, in milliseconds.
    pub delay_millis_max: u64,
    /// How many of a hundred get lost.
    pub lost_percent: u8,
    /// How many of a hundred arrive twice.
    pub repeated_percent: u8,
}

/// The kinds of faults, as they are chosen on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Members end.
    Crash,
    /// The power goes while a disk is at work.
    PowerCut,
    /// The network is cut.
    Partition,
    /// The network delays, loses and repeats.
    Weather,
    /// Syncs take long.
    SlowDisk,
    /// Reads, writes or syncs fail.
    BrokenDisk,
    /// Actors die.
    Death,
    /// Members join, leave, lead and come back.
    Membership,
    /// Tasks end by themselves.
    Exits,
    /// Wall clocks are set.
    Clock,
    /// Agents are cut off.
    Silence,
}

/// What there is to be harmed.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// How many machines found the group.
    pub members: u64,
    /// How many there are.
    pub machines: u64,
    /// How many agents there are that may fall silent.
    pub agents: u64,
    /// The actors that may die.
    pub actors: &'static [&'static str],
    /// What may happen, each with its weight.
    pub kinds: &'static [(Kind, u32)],
}

/// Begins a fault at a virtual millisecond.
pub fn at(millis: u64) -> Beginning {
    Beginning(millis)
}

/// When a fault begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning(u64);

impl Beginning {
    /// For how many milliseconds.
    pub fn lasting(self, millis: u64) -> Span {
        Span { at: self.0, lasts: millis }
    }

    /// See [`Harm::Death`].
    pub fn death(self, member: u64, actor: &'static str, when: When) -> Fault {
        self.lasting(0).of(Harm::Death { member, actor, when })
    }

    /// See [`Change::Joins`].
    pub fn joins(self, member: u64) -> Fault {
        self.lasting(0).of(Harm::Change(Change::Joins(member)))
    }

    /// See [`Change::Leaves`].
    pub fn leaves(self, member: u64) -> Fault {
        self.lasting(0).of(Harm::Change(Change::Leaves(member)))
    }

    /// See [`Change::LeaderLeaves`].
    pub fn leader_leaves(self) -> Fault {
        self.lasting(0).of(Harm::Change(Change::LeaderLeaves))
    }

    /// See [`Change::HandsOver`].
    pub fn hands_over(self, to: Option<u64>) -> Fault {
        self.lasting(0).of(Harm::Change(Change::HandsOver(to)))
    }

    /// See [`Change::ComesBack`].
    pub fn comes_back(self, member: u64) -> Fault {
        self.lasting(0).of(Harm::Change(Change::ComesBack(member)))
    }

    /// See [`Harm::Clock`].
    pub fn clock(self, members: impl Into<BTreeSet<u64>>, seconds: i64) -> Fault {
        self.lasting(0).of(Harm::Clock { members: members.into(), seconds })
    }

    /// See [`Harm::Exits`].
    pub fn exits(self, tasks: usize, code: i32) -> Fault {
        self.lasting(0).of(Harm::Exits { tasks, code })
    }
}

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    at: u64,
    lasts: u64,
}

impl Span {
    fn of(self, harm: Harm) -> Fault {
        let Self { at, lasts } = self;
        Fault { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), harm }
    }

    /// See [`Harm::Crash`].
    pub fn crash(self, members: impl Into<BTreeSet<u64>>, crash: Crash) -> Fault {
        self.of(Harm::Crash { members: members.into(), crash })
    }

    /// See [`Harm::Silence`].
    pub fn silence(self, agents: impl Into<BTreeSet<u64>>) -> Fault {
        self.of(Harm::Silence { agents: agents.into() })
    }

    /// See [`Harm::PowerCut`].
    pub fn power_cut(self, member: u64, changes: u64) -> Fault {
        self.of(Harm::PowerCut { member, changes })
    }

    /// See [`Harm::Partition`].
    pub fn partition(self, members: impl Into<BTreeSet<u64>>, way: Way) -> Fault {
        self.of(Harm::Partition { members: members.into(), way })
    }

    /// See [`Harm::Weather`].
    pub fn weather(self, weather: Weather) -> Fault {
        self.of(Harm::Weather(weather))
    }

    /// See [`Harm::SlowDisk`].
    pub fn slow_disk(self, member: u64, sync_millis: Range<u64>) -> Fault {
        self.of(Harm::SlowDisk { member, sync_millis })
    }

    /// See [`Harm::BrokenDisk`].
    pub fn broken_disk(self, member: u64, operation: Operation) -> Fault {
        self.of(Harm::BrokenDisk { member, operation })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_millis(), self.lasts.as_millis());
        match &self.harm {
            Harm::Death { .. } | Harm::Exits { .. } | Harm::Change(_) | Harm::Clock { .. } => {
                write!(formatter, "at({at}).{}", self.harm)
            }
            Harm::Crash { .. }
            | Harm::PowerCut { .. }
            | Harm::Partition { .. }
            | Harm::Weather(_)
            | Harm::SlowDisk { .. }
            | Harm::Silence { .. }
            | Harm::BrokenDisk { .. } => {
                write!(formatter, "at({at}).lasting({lasts}).{}", self.harm)
            }
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |members: &BTreeSet<u64>| members.iter().copied().collect::<Vec<_>>();
        match self {
            Self::Crash { members, crash } => {
                write!(formatter, "crash({:?}, Crash::{crash:?})", list(members))
            }
            Self::PowerCut { member, changes } => {
                write!(formatter, "power_cut({member}, {changes})")
            }
            Self::Partition { members, way } => {
                write!(formatter, "partition({:?}, Way::{way:?})", list(members))
            }
            Self::Silence { agents } => write!(formatter, "silence({:?})", list(agents)),
            Self::Weather(weather) => write!(formatter, "weather({weather:?})"),
            Self::SlowDisk { member, sync_millis } => {
                write!(formatter, "slow_disk({member}, {sync_millis:?})")
            }
            Self::BrokenDisk { member, operation } => {
                write!(formatter, "broken_disk({member}, Operation::{operation:?})")
            }
            Self::Death { member, actor, when } => {
                write!(formatter, "death({member}, {actor:?}, When::{when:?})")
            }
            Self::Change(change) => write!(formatter, "{change}"),
            Self::Exits { tasks, code } => write!(formatter, "exits({tasks}, {code})"),
            Self::Clock { members, seconds } => {
                write!(formatter, "clock({:?}, {seconds})", list(members))
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joins(member) => write!(formatter, "joins({member})"),
            Self::Leaves(member) => write!(formatter, "leaves({member})"),
            Self::LeaderLeaves => write!(formatter, "leader_leaves()"),
            Self::HandsOver(to) => write!(formatter, "hands_over({to:?})"),
            Self::ComesBack(member) => write!(formatter, "comes_back({member})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: Targets = Targets {
        members: 5,
        machines: 5,
        agents: 5,
        actors: &["core/raft"],
        kinds: &[(Kind::Crash, 1), (Kind::Partition, 1), (Kind::Death, 1)],
    };

    #[test]
    fn a_seed_draws_the_same_faults_again() {
        let drawn = |seed| draw(seed, Duration::from_secs(60), &TARGETS, &[]);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!(drawn(7).is_sorted_by_key(|fault| fault.at));
        assert!(drawn(7).iter().all(|fault| fault.at < Duration::from_secs(60)));
    }

    #[test]
    fn only_the_kinds_that_were_asked_for_are_drawn() {
        let faults = draw(7, Duration::from_secs(600), &TARGETS, &[Kind::Partition]);
        assert!(faults.len() > 100);
        for Fault { harm, .. } in faults {
            let Harm::Partition { members, .. } = harm else { panic!("{harm}") };
            assert!((1..=2).contains(&members.len()), "a minority of five");
        }
        assert_eq!(draw(7, Duration::from_secs(600), &TARGETS, &[Kind::Exits]), []);
    }

    #[test]
    fn a_group_grows_and_shrinks_between_its_limits() {
        let targets = Targets {
            members: 3,
            machines: 7,
            kinds: &[(Kind::Membership, 1), (Kind::Crash, 1)],
            ..TARGETS
        };
        let (mut sizes, mut size) = (BTreeSet::new(), 3);
        for Fault { harm, .. } in draw(8, Duration::from_secs(6_000), &targets, &[]) {
            if let Harm::Change(change) = harm {
                match change {
                    Change::Joins(_) => size += 1,
                    Change::Leaves(_) | Change::LeaderLeaves => size -= 1,
                    Change::HandsOver(_) | Change::ComesBack(_) => {}
                }
            }
            sizes.insert(size);
        }
        assert_eq!(sizes, (3..=7).collect());
    }

    #[test]
    fn a_fault_is_shown_as_the_rust_that_writes_it() {
        let fault = at(1_200).lasting(300).crash([1, 3], Crash::Power);
        assert_eq!(fault.to_string(), "at(1200).lasting(300).crash([1, 3], Crash::Power)");
        let fault = at(5).lasting(1).partition([2], Way::In);
        assert_eq!(fault.to_string(), "at(5).lasting(1).partition([2], Way::In)");
        let fault = at(5).death(2, "core/raft", When::AfterHandling);
        assert_eq!(fault.to_string(), r#"at(5).death(2, "core/raft", When::AfterHandling)"#);
        let fault = at(5).lasting(9).slow_disk(3, 10..200);
        assert_eq!(fault.to_string(), "at(5).lasting(9).slow_disk(3, 10..200)");
        let fault = at(5).lasting(9).broken_disk(3, Operation::Sync);
        assert_eq!(fault.to_string(), "at(5).lasting(9).broken_disk(3, Operation::Sync)");
        let fault = at(5).lasting(9).silence([1, 2]);
        assert_eq!(fault.to_string(), "at(5).lasting(9).silence([1, 2])");
        assert_eq!(at(5).joins(4).to_string(), "at(5).joins(4)");
        assert_eq!(at(5).leaves(4).to_string(), "at(5).leaves(4)");
        assert_eq!(at(5).leader_leaves().to_string(), "at(5).leader_leaves()");
        assert_eq!(at(5).hands_over(Some(4)).to_string(), "at(5).hands_over(Some(4))");
        assert_eq!(at(5).comes_back(4).to_string(), "at(5).comes_back(4)");
        assert_eq!(at(5).clock([1, 2], -60).to_string(), "at(5).clock([1, 2], -60)");
        let weather = Weather { delay_millis_max: 9, lost_percent: 1, repeated_percent: 2 };
        assert_eq!(
            at(5).lasting(9).weather(weather).to_string(),
            "at(5).lasting(9).weather(Weather { delay_millis_max: 9, lost_percent: 1, \
             repeated_percent: 2 })"
        );
    }
}
