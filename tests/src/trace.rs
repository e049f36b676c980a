//! What happened in a run, in order: as a hash that two runs of a seed share, and as lines for a
//! person who wants to know.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt::{self, Display},
    rc::Rc,
    time::Duration,
};

use actors::supervision::testing::listen;
use tokio::{sync::Notify, time::Instant};

/// So many messages at one moment belong to a loop that no time ends: a run handles far fewer.
const MESSAGES_AT_ONCE_MAX: u64 = 200_000;

/// The newest events are kept.
const EVENTS_MAX: usize = 400;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, since the run began.
    pub at: Duration,
    /// Who did it, or to whom it was done: `m1` is a member, `m1/core/raft` one of its actors.
    pub actor: String,
    /// What was asked for or said.
    pub message: String,
    /// What came of it.
    pub effect: String,
}

/// What a person wants to see: everything between the actors, or all that some of them do.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// How the actors are called, or how their paths begin; none: all, without their mailboxes.
    pub actors: Vec<String>,
}

/// The record of one run. Clones are the same record.
#[derive(Clone)]
pub struct Trace(Rc<RefCell<Record>>);

struct Record {
    began: Instant,
    hash: u64,
    count: u64,
    filter: Filter,
    events: VecDeque<Event>,
    /// The moment of the last message, and how many were handled at it.
    at_once: (Instant, u64),
    is_stuck: Rc<Notify>,
}

impl Trace {
    /// An empty record that keeps what the filter lets through. It hears of every message that an
    /// actor on this thread handles.
    pub fn new(filter: Filter) -> Self {
        let record = Record {
            began: Instant::now(),
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            filter,
            events: VecDeque::new(),
            at_once: (Instant::now(), 0),
            is_stuck: Rc::default(),
        };
        let trace = Self(Rc::new(RefCell::new(record)));
        let hears_mailboxes = !trace.0.borrow().filter.actors.is_empty();
        let heard = trace.clone();
        listen(Some(Box::new(move |actor, message| {
            heard.0.borrow_mut().count_at_once();
            if hears_mailboxes {
                heard.heard(actor, message);
            }
        })));
        trace
    }

    /// Notes an event at this moment of virtual time.
    pub fn note(&self, actor: impl Display, message: impl Display, effect: impl Display) {
        let event = self.event(&actor, &message, &effect);
        let record = &mut *self.0.borrow_mut();
        record.count += 1;
        record.mix(&event);
        record.keep(event);
    }

    /// An actor has handled a message of its mailbox: too much for the hash, and for most eyes.
    fn heard(&self, actor: &str, message: &str) {
        let event = self.event(&actor, &message, &"handled");
        self.0.borrow_mut().keep(event);
    }

    fn event(&self, actor: &dyn Display, message: &dyn Display, effect: &dyn Display) -> Event {
        let (actor, message) = (actor.to_string(), message.to_string());
        Event { at: self.elapsed(), actor, message, effect: effect.to_string() }
    }

    /// Waits until actors send each other messages and time stands still.
    pub async fn stands_still(&self) {
        let is_stuck = self.0.borrow().is_stuck.clone();
        is_stuck.notified().await;
    }

    /// What two runs of one seed have in common, in any build.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// How much happened.
    pub fn count(&self) -> u64 {
        self.0.borrow().count
    }

    /// How much virtual time has passed.
    pub fn elapsed(&self) -> Duration {
        self.0.borrow().began.elapsed()
    }

    /// The last events.
    pub fn events(&self) -> Vec<Event> {
        self.0.borrow().events.iter().cloned().collect()
    }
}

impl Record {
    fn mix(&mut self, event: &Event) {
        let Event { at, actor, message, effect } = event;
        let texts = [actor, message, effect].into_iter().flat_map(|text| text.bytes().chain([0]));
        for byte in at.as_nanos().to_le_bytes().into_iter().chain(texts) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn count_at_once(&mut self) {
        let now = Instant::now();
        let count = if self.at_once.0 == now { self.at_once.1 + 1 } else { 1 };
        self.at_once = (now, count);
        if count > MESSAGES_AT_ONCE_MAX {
            self.is_stuck.notify_one();
        }
    }

    fn keep(&mut self, event: Event) {
        if self.filter.lets_through(&event.actor) {
            if self.events.len() == EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }
}

impl Filter {
    fn lets_through(&self, actor: &str) -> bool {
        let is_below = |above: &String| {
            let rest = actor.strip_prefix(above.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.actors.is_empty() || self.actors.iter().any(is_below)
    }
}

impl Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, actor, message, effect } = self;
        write!(formatter, "{:>9.3}  {actor:<16}  {message:<52}  {effect}", at.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn trace(actors: &[&str]) -> Trace {
        Trace::new(Filter { actors: actors.iter().map(ToString::to_string).collect() })
    }

    #[test]
    fn an_event_is_a_line_of_columns() {
        let at = Duration::from_millis(1_234);
        let text = |text: &str| text.to_owned();
        let event = Event { at, actor: text("m1"), message: text("starts"), effect: text("ok") };
        let line = event.to_string();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["1.234", "m1", "starts", "ok"]);
        assert_eq!(
            (line.find("m1"), line.find("starts"), line.find("ok")),
            (Some(11), Some(29), Some(83))
        );
    }

    #[test]
    fn a_filter_shows_one_member_and_leaves_the_hash_alone() {
        let (all, one) = (trace(&[]), trace(&["m1"]));
        for trace in [&all, &one] {
            for actor in ["m1", "m1/core/raft", "m10", "clients"] {
                trace.note(actor, "message", "");
            }
            trace.heard("m1/core/raft", "Receive");
        }
        let actors =
            |trace: &Trace| trace.events().into_iter().map(|event| event.actor).collect::<Vec<_>>();
        assert_eq!(actors(&one), ["m1", "m1/core/raft", "m1/core/raft"]);
        assert_eq!(all.events().len(), 5);
        assert_eq!((all.count(), one.count()), (4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_stands_still_is_seen() {
        let trace = trace(&[]);
        let stands_still = async |millis| {
            timeout(Duration::from_millis(millis), trace.stands_still()).await.is_ok()
        };
        for _ in 0..=MESSAGES_AT_ONCE_MAX {
            trace.0.borrow_mut().count_at_once();
            advance(Duration::from_nanos(1)).await;
        }
        assert!(!stands_still(1).await);
        for _ in 0..=MESSAGES_AT_ONCE_MAX {
            trace.0.borrow_mut().count_at_once();
        }
        assert!(stands_still(1).await);
    }
}
