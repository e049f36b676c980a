//! Where the tasks of one kind can go, kept up with the nodes that change: a node is looked at
//! again when it was touched, never because another was.

use std::time::Instant;

use super::{
    failures::{Failures, OnNodes},
    filter::{Failed, Filter, failed, failed_for_good},
    kind::Kind,
    places::{Place, Places, Seat},
    spread::{Path, Rank, Spread},
};

/// Every node with its place in the order, or the filter that it fails.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// One for each seat that has been looked at.
    standings: Vec<Standing>,
    spread: Spread,
    failed: Failed,
    /// Touches before this one are taken into account.
    seen: u64,
}

/// What is known of one seat.
#[derive(Debug, Default)]
struct Standing {
    /// Which version of the node `for_good` and `path` are about; 0 for an empty seat.
    generation: u64,
    for_good: Option<Filter>,
    path: Path,
    /// How many tasks of the service were counted in the tree.
    counted: u64,
    result: Result,
}

#[derive(Debug, Default)]
enum Result {
    #[default]
    Empty,
    Fails(Filter),
    Fits(Rank),
}

/// What nodes are measured against.
pub(crate) struct Against<'a> {
    kind: &'a Kind,
    failures: Option<&'a OnNodes>,
    now: Instant,
}

impl<'a> Against<'a> {
    pub(crate) fn new(kind: &'a Kind, failures: &'a Failures, now: Instant) -> Self {
        Self { kind, failures: failures.of(&kind.service, kind.version), now }
    }

    fn rank(&self, place: &Place, seat: Seat) -> Rank {
        let node = &place.node.id;
        Rank {
            failures: self.failures.map_or(0, |failures| failures.against(node, self.now)),
            of_service: place.load.active_of(&self.kind.service),
            active: place.load.active,
            node: place.precedence,
            seat,
        }
    }
}

impl Candidates {
    /// Looks at nodes that were touched or never looked at, each of which is a step. Returns
    /// whether the steps were enough.
    pub(crate) fn catch_up(
        &mut self,
        against: &Against<'_>,
        places: &Places,
        steps: &mut usize,
    ) -> bool {
        if !places.remembers(self.seen) {
            *self = Self::default();
        }
        if self.standings.is_empty() {
            self.seen = places.touches();
        }
        while self.seen < places.touches() {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            let seat = places.touched(self.seen);
            self.seen += 1;
            if let Some(seat) = seat.filter(|seat| *seat < self.standings.len()) {
                self.look_at(against, places, seat);
            }
        }
        while self.standings.len() < places.len() {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            self.standings.push(Standing::default());
            self.look_at(against, places, self.standings.len() - 1);
        }
        true
    }

    /// Looks again at the nodes whose failures may have grown old, each of which is a step.
    pub(crate) fn forgive(&mut self, against: &Against<'_>, places: &Places, steps: &mut usize) {
        let nodes = against.failures.into_iter().flat_map(OnNodes::nodes);
        for seat in nodes.filter_map(|node| places.seat(node)) {
            *steps = steps.saturating_sub(1);
            self.look_at(against, places, seat);
        }
    }

    /// Looks at the one node that this kind has just touched itself.
    pub(crate) fn placed(&mut self, against: &Against<'_>, places: &Places, seat: Seat) {
        self.look_at(against, places, seat);
        self.seen = places.touches();
    }

    fn look_at(&mut self, against: &Against<'_>, places: &Places, seat: Seat) {
        let standing = &mut self.standings[seat];
        match &standing.result {
            Result::Empty => {}
            Result::Fails(filter) => self.failed.remove(*filter),
            Result::Fits(rank) => self.spread.remove(&standing.path, rank),
        }
        let (kind, place) = (against.kind, places.at(seat));
        let generation = place.map_or(0, |place| place.generation);
        if standing.generation != generation {
            self.spread.count(&standing.path, standing.counted, 0);
            standing.counted = 0;
            standing.generation = generation;
            standing.for_good = place.and_then(|place| failed_for_good(kind, &place.node));
            let labels = place.into_iter().flat_map(|place| {
                kind.asks.spread_over.iter().map(|label| label.of(&place.node).to_owned())
            });
            standing.path = labels.collect();
        }
        let Some(place) = place else {
            standing.result = Result::Empty;
            return;
        };
        if !standing.path.is_empty() && standing.for_good.is_none() {
            let tasks = place.load.active_of(&kind.service);
            self.spread.count(&standing.path, standing.counted, tasks);
            standing.counted = tasks;
        }
        standing.result = match failed(kind, place, standing.for_good) {
            Some(filter) => {
                self.failed.add(filter);
                Result::Fails(filter)
            }
            None => {
                let rank = against.rank(place, seat);
                self.spread.insert(&standing.path, rank);
                Result::Fits(rank)
            }
        };
    }

    /// The best node that is accepted, and what it was accepted with.
    pub(crate) fn best<T>(&self, mut accept: impl FnMut(Seat) -> Option<T>) -> Option<(Seat, T)> {
        self.spread.find(&mut |rank| Some((rank.seat, accept(rank.seat)?)))
    }

    /// How many nodes fail at which filter. Those that pass all but were not accepted fail at the
    /// volumes, which come last.
    pub(crate) fn failed(&self) -> Vec<(Filter, usize)> {
        let mut failed = self.failed.clone();
        (0..self.spread.len()).for_each(|_| failed.add(Filter::Volumes));
        failed.counts()
    }

    /// How many nodes have been looked at.
    pub(crate) fn len(&self) -> usize {
        self.standings.len()
    }
}
