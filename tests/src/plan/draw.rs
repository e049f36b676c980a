//! Draws faults from a seed. Which of them hit a member that is there is not known before the run;
//! who should be there by then is.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{
    Beginning, Change, Crash, Fault, Harm, Kind, Operation, Targets, Way, Weather, When, at,
};

/// Who should be a member, if every change that was drawn is carried out.
struct Group {
    members: BTreeSet<u64>,
    /// Leaders that went: some of `members`, and nobody knows which.
    leaders_gone: usize,
    /// Machines that were members.
    gone: BTreeSet<u64>,
}

/// Draws the faults of a seed: of these kinds, or of all that the targets know.
pub fn draw(seed: u64, time: Duration, targets: &Targets, kinds: &[Kind]) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x00fa_0175);
    // Half of the groups stay as they were founded: with more members, it takes more to break one.
    let changes = kinds.contains(&Kind::Membership) || seed.is_multiple_of(2);
    let wanted = |kind: &Kind| {
        let is_possible = changes || *kind != Kind::Membership;
        is_possible && (kinds.is_empty() || kinds.contains(kind))
    };
    let weighed: Vec<_> = targets.kinds.iter().filter(|(kind, _)| wanted(kind)).collect();
    let mut group = Group::of_founders(targets);
    let (mut faults, mut millis) = (Vec::new(), 0);
    loop {
        millis += random.gen_range(200..2_500);
        let Ok((kind, _)) = weighed.choose_weighted(&mut random, |(_, weight)| *weight) else {
            return faults;
        };
        if Duration::from_millis(millis) >= time {
            return faults;
        }
        faults.push(group.draw(&mut random, at(millis), *kind, targets));
    }
}

impl Group {
    fn of_founders(targets: &Targets) -> Self {
        let members = (1..=targets.members).collect();
        Self { members, leaders_gone: 0, gone: BTreeSet::new() }
    }

    fn draw(&mut self, random: &mut StdRng, at: Beginning, kind: Kind, targets: &Targets) -> Fault {
        let member = any(random, &self.members);
        match kind {
            Kind::Crash => {
                let crash = if random.gen_bool(0.7) { Crash::Power } else { Crash::Process };
                // Now and then all of them, as when a room loses power.
                let all = random.gen_bool(0.15);
                let members = if all { self.members.clone() } else { BTreeSet::from([member]) };
                at.lasting(random.gen_range(10..4_000)).crash(members, crash)
            }
            Kind::PowerCut => {
                let changes = random.gen_range(1..40);
                at.lasting(random.gen_range(300..4_000)).power_cut(member, changes)
            }
            Kind::Partition => {
                let ways = [Way::Both, Way::Both, Way::In, Way::Out];
                let way = *ways.choose(random).expect("there are some");
                at.lasting(random.gen_range(300..6_000)).partition(self.minority(random), way)
            }
            Kind::Weather => at.lasting(random.gen_range(500..6_000)).weather(Weather {
                delay_millis_max: random.gen_range(5..400),
                lost_percent: random.gen_range(0..30),
                repeated_percent: random.gen_range(0..20),
            }),
            Kind::SlowDisk => {
                let sync_millis = random.gen_range(10..200)..random.gen_range(300..1_500);
                at.lasting(random.gen_range(500..6_000)).slow_disk(member, sync_millis)
            }
            Kind::BrokenDisk => {
                let operations =
                    [Operation::Read, Operation::Write, Operation::Sync, Operation::Sync];
                let operation = *operations.choose(random).expect("there are some");
                at.lasting(random.gen_range(100..3_000)).broken_disk(member, operation)
            }
            Kind::Death => {
                let when =
                    if random.gen_bool(0.5) { When::BeforeHandling } else { When::AfterHandling };
                let actor = targets.actors.choose(random).expect("somebody can die");
                at.death(member, actor, when)
            }
            Kind::Membership => at.lasting(0).of(Harm::Change(self.change(random, targets))),
            Kind::Silence => silence(random, at, targets),
            Kind::Clock => clocks(random, at, member, targets),
            Kind::Exits => at.exits(
                random.gen_range(1..3),
                *[0, 1, 137].choose(random).expect("there are some"),
            ),
        }
    }

    fn change(&mut self, random: &mut StdRng, targets: &Targets) -> Change {
        let size = self.members.len() - self.leaders_gone;
        let (least, most) = (targets.members as usize, targets.machines as usize);
        match random.gen_range(0..10) {
            0..=2 if size < most => self.joins(random, targets),
            3..=5 if size > least => {
                let member = any(random, &self.members);
                self.members.remove(&member);
                self.gone.insert(member);
                Change::Leaves(member)
            }
            6 if size > least => {
                self.leaders_gone += 1;
                Change::LeaderLeaves
            }
            7 if !self.gone.is_empty() => Change::ComesBack(any(random, &self.gone)),
            8 => Change::HandsOver(Some(any(random, &self.members))),
            9 => Change::HandsOver(None),
            _ if size < most => self.joins(random, targets),
            _ => Change::HandsOver(None),
        }
    }

    fn joins(&mut self, random: &mut StdRng, targets: &Targets) -> Change {
        let mut outside: BTreeSet<_> = (1..=targets.machines).collect();
        outside.retain(|machine| !self.members.contains(machine));
        if outside.is_empty() {
            // Some of them are leaders that went.
            outside = self.members.clone();
            self.leaders_gone -= 1;
        }
        let machine = any(random, &outside);
        self.members.insert(machine);
        self.gone.remove(&machine);
        Change::Joins(machine)
    }

    /// Less than half of the members, and at least one.
    fn minority(&self, random: &mut StdRng) -> BTreeSet<u64> {
        let most = (self.members.len().max(3) - 1) / 2;
        let mut members: Vec<_> = self.members.iter().copied().collect();
        members.shuffle(random);
        members.into_iter().take(random.gen_range(1..=most)).collect()
    }
}

/// One or two agents fall silent, or all but one.
fn silence(random: &mut StdRng, at: Beginning, targets: &Targets) -> Fault {
    let mut agents: Vec<_> = (1..=targets.agents).collect();
    agents.shuffle(random);
    let is_mass = random.gen_bool(0.4);
    let count = if is_mass { agents.len() - 1 } else { random.gen_range(1..=2) };
    agents.truncate(count);
    at.lasting(random.gen_range(1_000..45_000)).silence(agents.into_iter().collect::<BTreeSet<_>>())
}

/// Time goes by at once for all, or one machine has another time than the others.
fn clocks(random: &mut StdRng, at: Beginning, member: u64, targets: &Targets) -> Fault {
    if random.gen_bool(0.6) {
        let all: BTreeSet<_> = (1..=targets.machines).collect();
        at.clock(all, random.gen_range(300..1_500))
    } else {
        at.clock([member], random.gen_range(-120..120))
    }
}

fn any(random: &mut StdRng, of: &BTreeSet<u64>) -> u64 {
    let drawn = random.gen_range(0..of.len());
    of.iter().copied().nth(drawn).expect("there are some")
}
