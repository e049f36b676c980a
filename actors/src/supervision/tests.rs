//! Restarts, budgets and permits, on the paused clock.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::{task::LocalSet, time::sleep};

use super::{
    ActorState, Budget, Census, Closed, Life, Lost, Tree, TrySendError,
    logic::{BACK_OFF_MAX, BACK_OFF_MIN, Deaths, Verdict},
};
use crate::supervised;

const BUDGET: Budget = Budget { restarts: 3, within: Duration::from_secs(60) };

/// What a test shares with the lives of its actor.
#[derive(Clone, Default)]
struct Shared {
    lives: Rc<RefCell<Vec<u64>>>,
    ticks: Rc<Cell<u32>>,
    factory_fails: Rc<Cell<bool>>,
}

struct Probe {
    life: Life,
    shared: Shared,
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.shared.lives.borrow_mut().push(self.life.0);
    }
}

supervised!(Probe, mailbox = 4);

#[derive(Message)]
#[rtype(result = "u64")]
struct WhichLife;

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

#[derive(Message)]
#[rtype(result = "()")]
struct StopYourself;

#[derive(Message)]
#[rtype(result = "()")]
struct TickLater(Duration);

impl Handler<WhichLife> for Probe {
    type Result = u64;

    fn handle(&mut self, _: WhichLife, _: &mut Context<Self>) -> u64 {
        self.life.0
    }
}

impl Handler<Die> for Probe {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Context<Self>) {
        super::fail(&"told to die");
    }
}

impl Handler<StopYourself> for Probe {
    type Result = ();

    fn handle(&mut self, _: StopYourself, ctx: &mut Context<Self>) {
        actix::ActorContext::stop(ctx);
    }
}

impl Handler<TickLater> for Probe {
    type Result = ();

    fn handle(&mut self, TickLater(after): TickLater, ctx: &mut Context<Self>) {
        ctx.run_later(after, |probe, _| probe.shared.ticks.set(probe.shared.ticks.get() + 1));
    }
}

impl Shared {
    fn factory(&self) -> impl FnMut(Life) -> Probe + 'static {
        let shared = self.clone();
        move |life| {
            assert!(!shared.factory_fails.get(), "the factory fails");
            Probe { life, shared: shared.clone() }
        }
    }
}

fn simulate<T>(test: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test())
}

type LostTrees = Rc<RefCell<Vec<Lost>>>;

fn root(census: &Census) -> (Tree, LostTrees) {
    let lost = LostTrees::default();
    let told = lost.clone();
    let tree = Tree::root("root", BUDGET, census.clone(), move |lost| told.borrow_mut().push(lost));
    (tree, lost)
}

#[test]
fn a_panic_starts_the_next_life_behind_the_same_address() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let probe = root(&census).0.child("probe", shared.factory());
        assert_eq!(probe.send(WhichLife).await, Ok(0));
        let (killed, queued) = (probe.send(Die), probe.send(WhichLife));
        let (killed, queued) = tokio::join!(killed, queued);
        assert_eq!(killed, Err(Closed), "the message that killed it has no answer");
        assert_eq!(queued, Ok(1), "what was queued is answered by the next life");
        let report = &census.report()[0];
        assert_eq!((&*report.path, report.restarts), ("root/probe", 1));
        assert_eq!(report.last_failure.as_deref(), Some("told to die"));
        assert_eq!(report.state, ActorState::Running);
    });
}

#[test]
fn stopping_by_itself_is_a_death() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let probe = root(&census).0.child("probe", shared.factory());
        probe.send(StopYourself).await.ok();
        assert_eq!(probe.send(WhichLife).await, Ok(1));
    });
}

#[test]
fn a_factory_that_panics_is_tried_again() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        shared.factory_fails.set(true);
        let probe = root(&census).0.child("probe", shared.factory());
        let asked = probe.send(WhichLife);
        sleep(Duration::from_millis(15)).await;
        shared.factory_fails.set(false);
        assert_eq!(asked.await, Ok(2), "two lives were never born");
    });
}

#[test]
fn timers_of_a_dead_life_do_not_fire_in_the_next() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let probe = root(&census).0.child("probe", shared.factory());
        probe.send(TickLater(Duration::from_secs(1))).await.unwrap();
        probe.send(Die).await.ok();
        sleep(Duration::from_secs(2)).await;
        assert_eq!((probe.send(WhichLife).await, shared.ticks.get()), (Ok(1), 0));
    });
}

#[test]
fn a_spent_budget_restarts_the_whole_tree_in_order() {
    simulate(async || {
        let (first, second, census) = (Shared::default(), Shared::default(), Census::default());
        let (tree, lost) = root(&census);
        let quiet = tree.child("quiet", first.factory());
        let deadly = tree.child("deadly", second.factory());
        for _ in 0..=BUDGET.restarts {
            deadly.send(Die).await.ok();
        }
        assert_eq!(deadly.send(WhichLife).await, Ok(4));
        assert_eq!(quiet.send(WhichLife).await, Ok(1), "its sibling was restarted with it");
        assert!(lost.borrow().is_empty());
    });
}

#[test]
fn a_tree_that_keeps_dying_restarts_its_parent_and_at_last_gives_up() {
    simulate(async || {
        let (outer, inner, census) = (Shared::default(), Shared::default(), Census::default());
        let (tree, lost) = root(&census);
        let quiet = tree.child("quiet", outer.factory());
        let deadly = tree.subtree("inner", BUDGET).child("deadly", inner.factory());
        while lost.borrow().is_empty() {
            deadly.send(Die).await.ok();
            sleep(Duration::from_millis(1)).await;
        }
        assert!(outer.lives.borrow().len() > 1, "the parent was restarted before it gave up");
        let lost = lost.take();
        assert_eq!((&*lost[0].tree, &*lost[0].reason), ("root", "told to die"));
        assert_eq!(quiet.send(WhichLife).await, Err(Closed));
        assert!(matches!(deadly.try_send(Die), Err(TrySendError::Closed(Die))));
    });
}

#[test]
fn a_tree_of_one_child_gives_up_as_soon_as_its_budget_is_spent() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let (tree, lost) = root(&census);
        let deadly = tree.child("deadly", shared.factory());
        while lost.borrow().is_empty() {
            deadly.send(Die).await.ok();
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*shared.lives.borrow(), [0, 1, 2, 3], "once, and as often as the budget says");
    });
}

#[test]
fn a_tree_that_is_stopped_is_forgotten_by_its_parent() {
    simulate(async || {
        let census = Census::default();
        let (tree, _) = root(&census);
        let inner = tree.subtree("inner", BUDGET);
        inner.child("quiet", Shared::default().factory());
        inner.stop().await;
        assert!(tree.has_no_members());
    });
}

#[test]
fn the_children_of_a_unit_live_and_die_together() {
    simulate(async || {
        let (first, second, census) = (Shared::default(), Shared::default(), Census::default());
        let (tree, lost) = root(&census);
        let unit = tree.unit("unit", BUDGET);
        let quiet = unit.child("quiet", first.factory());
        let deadly = unit.child("deadly", second.factory());
        let (killed, queued) = tokio::join!(deadly.send(Die), quiet.send(WhichLife));
        assert_eq!((killed, queued), (Err(Closed), Ok(0)));
        assert_eq!((quiet.send(WhichLife).await, deadly.send(WhichLife).await), (Ok(1), Ok(1)));
        assert!(lost.borrow().is_empty());
    });
}

#[test]
fn capacity_holds_over_clones_and_permits_come_back() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let (tree, _) = root(&census);
        let probe = tree.child("probe", shared.factory());
        for round in 0..3 {
            for _ in 0..4 {
                probe.clone().try_send(WhichLife).unwrap();
            }
            assert!(matches!(probe.clone().try_send(WhichLife), Err(TrySendError::Full(_))));
            assert_eq!(census.report()[0].mailbox_depth, 4);
            if round == 1 {
                drop(probe.send(WhichLife));
            }
            assert!(probe.send(WhichLife).await.is_ok(), "a sender waits for its turn");
            assert_eq!(census.report()[0].mailbox_depth, 0);
        }
        assert_eq!(census.report()[0].messages_handled, 15);
        probe.try_send(Die).unwrap();
        probe.try_send(WhichLife).unwrap();
        assert!(probe.send(WhichLife).await.is_ok());
        assert_eq!(census.report()[0].mailbox_depth, 0, "a death gives its permit back");
    });
}

#[test]
fn a_stop_that_was_broken_off_is_begun_again() {
    simulate(async || {
        let census = Census::default();
        let (tree, _) = root(&census);
        tree.child("first", Shared::default().factory());
        tree.subtree("inner", BUDGET).child("second", Shared::default().factory());
        sleep(Duration::from_millis(1)).await;
        assert!(tree.stop().now_or_never().is_none(), "a child takes its time");
        tree.stop().await;
        assert!(census.report().is_empty() && tree.has_no_members());
    });
}

#[test]
fn a_stopped_tree_answers_nobody_and_leaves_the_census() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let (tree, lost) = root(&census);
        let probe = tree.child("probe", shared.factory());
        probe.send(WhichLife).await.unwrap();
        let waiting: Vec<_> = (0..9).map(|_| probe.send(WhichLife)).collect();
        tree.stop().await;
        for answer in waiting {
            assert_eq!(answer.await, Err(Closed));
        }
        assert!(census.report().is_empty() && lost.borrow().is_empty());
    });
}

#[test]
fn an_aborted_tree_ends_in_the_middle() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let (tree, _) = root(&census);
        let probe = tree.child("probe", shared.factory());
        probe.send(TickLater(Duration::from_secs(1))).await.unwrap();
        tree.abort();
        sleep(Duration::from_secs(2)).await;
        assert_eq!((probe.send(WhichLife).await, shared.ticks.get()), (Err(Closed), 0));
    });
}

#[test]
fn another_thread_may_send() {
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let probe = root(&census).0.child("probe", shared.factory());
        let asked = std::thread::spawn(move || probe.send(WhichLife)).join().unwrap();
        assert_eq!(asked.await, Ok(0));
    });
}

#[test]
fn the_back_off_doubles_and_is_forgotten_after_a_quiet_while() {
    let mut deaths = Deaths::new(BUDGET);
    let second = Duration::from_secs(1);
    assert_eq!(deaths.count(second), Verdict::Restart(BACK_OFF_MIN));
    assert_eq!(deaths.count(2 * second), Verdict::Restart(2 * BACK_OFF_MIN));
    assert_eq!(deaths.count(3 * second), Verdict::Restart(4 * BACK_OFF_MIN));
    assert_eq!(deaths.count(4 * second), Verdict::Escalate);
    assert_eq!(deaths.count(200 * second), Verdict::Restart(BACK_OFF_MIN));
}

proptest! {
    /// Within any window no more deaths are made good than the budget says, and no back-off is
    /// out of bounds.
    #[test]
    fn no_window_holds_more_restarts_than_the_budget(
        restarts in 0_u32..20,
        gaps in prop::collection::vec(0_u64..30_000, 0..200),
    ) {
        let budget = Budget { restarts, within: Duration::from_secs(60) };
        let mut deaths = Deaths::new(budget);
        let (mut now, mut good) = (Duration::ZERO, Vec::new());
        for gap in gaps {
            now += Duration::from_millis(gap);
            match deaths.count(now) {
                Verdict::Restart(after) => {
                    prop_assert!((BACK_OFF_MIN..=BACK_OFF_MAX).contains(&after));
                    good.push(now);
                    let recent = good.iter().filter(|time| now - **time <= budget.within);
                    prop_assert!(recent.count() <= restarts as usize);
                }
                Verdict::Escalate => good.clear(),
            }
        }
    }
}

#[test]
fn a_test_may_have_an_actor_die_before_or_after_it_handles() {
    use super::testing::{Deaths, When, doom, pardon, take_deaths};
    simulate(async || {
        let (shared, census) = (Shared::default(), Census::default());
        let (tree, _) = root(&census);
        let actor = tree.child("doomed", shared.factory());
        let path = census.report()[0].path.clone();
        for (life, when) in [(0, When::BeforeHandling), (1, When::AfterHandling)] {
            assert_eq!(actor.send(WhichLife).await, Ok(life));
            doom(&path, when);
            let answer = actor.send(WhichLife).await;
            assert_eq!(answer.is_ok(), when == When::AfterHandling, "it answered before it died");
        }
        assert_eq!(actor.send(WhichLife).await, Ok(2));
        assert_eq!(take_deaths(), Deaths { before_handling: 1, after_handling: 1 });
        doom(&path, When::BeforeHandling);
        pardon(&path);
        assert_eq!(actor.send(WhichLife).await, Ok(2));
        assert_eq!(take_deaths(), Deaths::default());
    });
}
