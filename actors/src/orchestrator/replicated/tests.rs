//! What a service asks for, as tables; that it converges; and the actor over a slow store.

use std::{mem, time::Duration};

use proptest::prelude::*;
use protocol::{
    id::ServiceId,
    objects::{Kind, Meta, Node, Object, Service, TaskState},
    wire::{restart_policy::RestartCondition, service_spec::Mode},
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{
    super::testing::{at, change, commit, observe, run, runnable, served, service, spec, view},
    logic::{CREATED_MAX, Change as Step, services, touched},
    *,
};
use crate::{
    environment::testing::environment,
    store::{CHANGES_PER_TRANSACTION, testing},
};

/// What a service lacks, said in one go.
fn reconcile(view: &View, id: &ServiceId) -> Vec<Step> {
    plan(view, id).iter().map(|step| step.change().clone()).collect()
}

/// The same, by looking at so many tasks at a time; and in how many looks.
fn reconcile_by(looks: usize, view: &View, id: &ServiceId) -> (Vec<Step>, usize) {
    let mut survey = Survey::new(view.clone(), id.clone());
    let (mut changes, mut count) = (Vec::new(), 0);
    while !survey.is_over() {
        let mut left = looks;
        changes.extend(survey.advance(&mut left));
        assert!(left == 0 || survey.is_over(), "it ends before it has to");
        count += 1;
    }
    (changes, count)
}

fn describe(changes: &[Step]) -> String {
    let words = changes.iter().map(|change| match change {
        Step::Create(slot) => format!("create {slot}"),
        Step::Replace { slot, old } => {
            let old: Vec<_> = old.iter().map(|task| task.as_str()).collect();
            format!("replace {slot} [{}]", old.join(" "))
        }
        Step::Remove(task) => format!("remove {task}"),
        Step::Shutdown { slot, task } => format!("shutdown {slot} {task}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(condition: RestartCondition, replicas: u64, tasks: &str, expected: &str) {
    let view = served(&service(replicas, &spec(condition, 0)), tasks);
    assert_eq!(describe(&reconcile(&view, &"s".into())), expected, "{replicas} of {tasks}");
}

#[test]
fn slots_are_filled_from_the_lowest_free_one() {
    let any = RestartCondition::Any;
    check(any, 0, "", "");
    check(any, 3, "", "create 1, create 2, create 3");
    check(any, 3, "2:running", "create 1, create 3");
    check(any, 3, "1:running 2:new 3:pending", "");
    // A task that ended is still the one of its slot: `restart` replaces it.
    check(any, 2, "1:failed 2:running", "");
    check(any, 2, "1:running>shutdown 1:ready>ready 2:running", "");
    // A slot whose tasks are all told to stop is free, and keeps its history when taken again.
    check(any, 1, "1:failed>shutdown", "create 1");
    check(any, 1, "1:running>remove", "create 1");
    check(any, 1, "1:running 4:failed>shutdown", "remove t2");
}

#[test]
fn a_slot_that_ended_for_good_still_counts() {
    check(RestartCondition::None, 1, "1:failed>shutdown", "");
    check(RestartCondition::OnFailure, 1, "1:complete>shutdown", "");
    check(RestartCondition::OnFailure, 1, "1:failed>shutdown", "create 1");
    check(RestartCondition::None, 1, "1:complete>remove", "create 1");
    check(RestartCondition::None, 1, "1!:complete>shutdown", "replace 1 []");
    check(RestartCondition::None, 0, "1:complete>shutdown", "remove t1");
}

#[test]
fn a_late_report_on_a_task_that_was_replaced_fills_no_slot_again() {
    let service = service(1, &spec(RestartCondition::OnFailure, 0));
    let view = served(&service, "1:orphaned>shutdown 1:complete>shutdown");
    let view =
        commit(&view, 0, |head| change(head, "t1", |task| task.status.applied_at = Some(at(100))));
    assert_eq!(describe(&reconcile(&view, &"s".into())), "");
}

#[test]
fn too_many_are_removed_where_they_hurt_least() {
    let any = RestartCondition::Any;
    check(any, 0, "1:running@n1 2:new", "remove t1, remove t2");
    check(any, 2, "1:running@n1 2:running@n1 3:running@n2", "remove t2");
    check(any, 1, "1:assigned@n1 2:running@n1", "remove t1");
    check(any, 1, "1:running@n1 2:running@n2", "remove t2");
    check(any, 1, "1:new 2:running@n1", "remove t1");
    // A slot that stops one task and starts another is no sure place.
    check(any, 1, "1:running@n1 1:ready>ready@n2 2:running@n2", "remove t1, remove t2");
    check(any, 1, "1:running@n1 2:running@n1 2:failed>shutdown@n2", "remove t2, remove t3");
}

#[test]
fn a_new_spec_replaces_every_task() {
    let any = RestartCondition::Any;
    check(any, 2, "1!:running 2!:running", "replace 1 [t1], replace 2 [t2]");
    check(any, 2, "1!:running 2:running", "replace 1 [t1]");
    check(any, 1, "1!:running>shutdown 1:new>ready", "");
    check(any, 1, "1!:running 2!:running", "replace 1 [t1], remove t2");
    check(any, 2, "1!:running", "replace 1 [t1], create 2");
    // Of several that are right, one stays: one that runs before one that ended or waits.
    check(any, 1, "1:failed 1:running 1:new>ready", "shutdown 1 t1, shutdown 1 t3");
    check(any, 1, "1!:running 1:new>ready", "shutdown 1 t1");
}

#[test]
fn a_service_that_is_gone_keeps_nothing() {
    let spec = spec(RestartCondition::Any, 0);
    let asked = |view: &View| describe(&reconcile(view, &"s".into()));
    let mut leaving = service(2, &spec);
    leaving.pending_delete = true;
    let words = "1:running 1:failed>shutdown 2:new>remove";
    assert_eq!(asked(&served(&leaving, words)), "remove t1, remove t2");
    let tasks = super::super::testing::tasks(words, &spec);
    let removed = view(tasks.into_iter().map(Object::from));
    assert_eq!(asked(&removed), "remove t1, remove t2");
    assert_eq!(services(&removed, None, 9), ["s".into()], "a full pass finds it");
}

#[test]
fn a_full_pass_comes_by_every_service_once_however_few_it_looks_at() {
    let spec = spec(RestartCondition::Any, 0);
    let gone = super::super::testing::tasks("1:running 2:running 2:running", &spec);
    let objects = ["a", "b", "u"].map(|id| Object::from(called(id, 2)));
    let view = view(objects.into_iter().chain(gone.into_iter().map(Object::from)));
    for count in 1..6 {
        let (mut passed, mut after) = (Vec::new(), None);
        loop {
            let some = services(&view, after.as_ref(), count);
            passed.extend(some.iter().map(ToString::to_string));
            after = some.last().map(|id| id.as_id().clone());
            if some.len() < count {
                break;
            }
        }
        assert_eq!(passed, ["a", "b", "s", "u"], "{count} at a time");
    }
}

#[test]
fn other_services_and_tasks_of_nobody_are_left_alone() {
    let mut global = service(1, &spec(RestartCondition::Any, 0));
    let mut wish = global.spec.as_ref().clone();
    wish.mode = Some(Mode::Global(Default::default()));
    global.spec = wish.into();
    assert_eq!(reconcile(&served(&global, "0:running 0:failed"), &"s".into()), vec![]);
    let mut nobodys = super::super::testing::tasks("0:running", &Default::default());
    nobodys[0].service_id = Default::default();
    let view = view(nobodys.into_iter().map(Object::from));
    assert_eq!(reconcile(&view, &Default::default()), vec![]);
}

#[test]
fn what_a_new_task_contains() {
    let wish = service(1, &spec(RestartCondition::Any, 0));
    let view = converge(&served(&wish, "1!:running@n1"));
    let new = view.tasks_in_slot(&"s".into(), 1).find(|task| task.id.as_str().len() == 25);
    let new = new.unwrap();
    assert_eq!((new.desired_state, new.status.state), (TaskState::READY, TaskState::NEW));
    assert_eq!((&*new.status.message, new.status.timestamp), ("created", Some(at(200))));
    assert_eq!((Some(new.spec.as_ref()), new.spec_version), (wish.task_spec(), wish.spec_version));
    assert_eq!(new.service_annotations.name, "web");
    assert!(new.node_id.is_empty());
}

#[test]
fn only_what_may_count_otherwise_is_looked_at() {
    let before = served(&service(1, &spec(RestartCondition::Any, 0)), "1:assigned@n1");
    let concerns = |write: &dyn Fn(&mut Transaction)| {
        let mut transaction = Transaction::begin(&before);
        write(&mut transaction);
        let sealed = transaction.seal(before.index() + 1, at(9));
        touched(&sealed.view, &sealed.changes).contains(&"s".into())
    };
    let observed = |state| concerns(&|head| change(head, "t1", |task| observe(task, "n1", state)));
    assert!(!observed("running"));
    assert!(observed("failed"));
    assert!(concerns(&|head| {
        change(head, "t1", |task| task.desired_state = TaskState::SHUTDOWN);
    }));
    let with_node = |change: &dyn Fn(&mut Node)| {
        concerns(&|head| {
            let mut node = head.node(&"n1".into()).unwrap().as_ref().clone();
            change(&mut node);
            head.update(node).unwrap();
        })
    };
    assert!(!with_node(&|node| node.status.message = "late".to_owned()));
    assert!(with_node(&|node| node.description = Some(Default::default())));
}

/// Carries out what is asked for, as often as it takes, and checks that it is a fixed point.
fn converge(view: &View) -> View {
    let mut random = StdRng::seed_from_u64(1);
    let mut view = view.clone();
    for _ in 0..3 {
        let mut steps: BTreeSet<_> = plan(&view, &"s".into()).into_iter().collect();
        if steps.is_empty() {
            return view;
        }
        while !steps.is_empty() {
            view = commit(&view, 200, |head| {
                steps = carry_out(head, mem::take(&mut steps), at(200), &mut random).unwrap();
                assert!(head.len() <= CHANGES_PER_TRANSACTION);
            });
        }
    }
    panic!("it never ends");
}

#[test]
fn a_large_service_takes_several_transactions() {
    let replicas = CREATED_MAX + CHANGES_PER_TRANSACTION + 1;
    let wish = service(replicas as u64, &spec(RestartCondition::Any, 0));
    let created = converge(&served(&wish, ""));
    assert_eq!(runnable(&created), replicas);
    let slots: BTreeSet<_> = created.tasks().map(|task| task.slot).collect();
    assert_eq!(slots, (1..=replicas as u64).collect());
    let without = commit(&created, 300, |head| {
        head.remove(Kind::Service, &"s".into()).unwrap();
    });
    assert_eq!(runnable(&converge(&without)), 0);
}

/// So many slots with a task that runs.
fn full(replicas: u64, slots: u64) -> View {
    let words: Vec<_> = (1..=slots).map(|slot| format!("{slot}:running@n1")).collect();
    served(&service(replicas, &spec(RestartCondition::Any, 0)), &words.join(" "))
}

#[test]
fn a_large_service_is_gone_through_a_few_tasks_at_a_time() {
    let slots = 3_000;
    for (replicas, passes) in [(slots, 2), (slots + 10, 2), (0, 4), (slots / 2, 4)] {
        let view = full(replicas, slots);
        let (changes, looks) = reconcile_by(100, &view, &"s".into());
        // It is counted and told, and ranked in two rounds if there are too many.
        let expected = passes * slots as usize / 100;
        assert!((expected..expected + 3).contains(&looks), "{looks} looks for {replicas}");
        assert_eq!(changes.len() as u64, replicas.abs_diff(slots));
    }
}

#[test]
fn a_service_that_takes_several_looks_comes_to_rest() {
    run(async |tree| {
        let store = testing::start(tree, full(3_000, 3_000));
        testing::until_leading(&store).await;
        let subject = store.clone();
        tree.child_with_address("replicated", move |life, own| {
            Replicated::new(subject.clone(), environment(), life, own)
        });
        for replicas in [2_500, 4_000, 10, 0] {
            // Another wish comes while the service is gone through.
            for replicas in [replicas + 7, replicas] {
                let written = store.transact(move |head| {
                    let meta = head.service(&"s".into()).unwrap().meta;
                    let wish = service(replicas, &spec(RestartCondition::Any, 0));
                    head.update(Service { meta, ..wish })
                });
                written.await.unwrap();
            }
            sleep(Duration::from_secs(60)).await;
            assert_eq!(runnable(&store.view()) as u64, replicas);
        }
    });
}

/// A large service asks for something else with every commit: a plan for it is never carried out.
/// One with a higher id has its turn all the same.
#[test]
fn a_service_that_never_rests_holds_up_nobody_else() {
    run(async |tree| {
        let store = testing::start_slow(tree, full(1_000, 1_000), Duration::from_millis(100));
        testing::until_leading(&store).await;
        let subject = store.clone();
        tree.child_with_address("replicated", move |life, own| {
            Replicated::new(subject.clone(), environment(), life, own)
        });
        for round in 0..30 {
            let written = store.transact(move |head| {
                let meta = head.service(&"s".into()).unwrap().meta;
                let wish = service(2_000 * (round % 2), &spec(RestartCondition::Any, 0));
                head.update(Service { meta, ..wish })?;
                if round == 10 { head.create(called("z", 1)) } else { Ok(()) }
            });
            written.await.unwrap();
        }
        assert_eq!(store.view().tasks_of_service(&"z".into()).count(), 1);
    });
}

#[test]
fn a_service_with_steps_that_are_due_is_in_hand() {
    let planned = |id: &str| {
        let view = view([called(id, 2).into()]);
        plan(&view, &id.into()).into_iter().map(Due::Step)
    };
    let going = [Due::Going("b".into()), Due::Service("a".into())];
    let due: BTreeSet<_> = planned("k").chain(planned("m")).chain(going).collect();
    for (id, expected) in [
        ("a", false),
        ("b", true),
        ("c", false),
        ("k", true),
        ("l", false),
        ("m", true),
        ("n", false),
    ] {
        assert_eq!(Replicated::is_in_hand(&due, &Due::Service(id.into())), expected, "{id}");
    }
}

/// A service that is called otherwise.
fn called(id: &str, replicas: u64) -> Service {
    let service = service(replicas, &spec(RestartCondition::Any, 0));
    let mut wish = service.spec.as_ref().clone();
    wish.annotations = None;
    Service { id: id.into(), spec: wish.into(), ..service }
}

#[test]
fn a_step_that_the_head_does_not_ask_for_is_left_out() {
    let wish = |replicas| service(replicas, &spec(RestartCondition::Any, 0));
    let written = |replicas, words: &str, write: &dyn Fn(&mut Transaction)| {
        let view = served(&wish(replicas), words);
        let steps = plan(&view, &"s".into()).into_iter().collect();
        let mut head = Transaction::begin(&view);
        write(&mut head);
        let before = head.len();
        let mut random = StdRng::seed_from_u64(1);
        assert_eq!(carry_out(&mut head, steps, at(200), &mut random), Ok([].into()));
        head.len() - before
    };
    let nothing = |_: &mut Transaction| {};
    assert_eq!(written(1, "", &nothing), 1);
    let taken = |head: &mut Transaction| {
        let tasks = super::super::testing::tasks("1:new", &spec(RestartCondition::Any, 0));
        tasks.into_iter().for_each(|task| head.create(task).unwrap());
    };
    assert_eq!(written(1, "", &taken), 0, "the slot has a task");
    let scaled = |head: &mut Transaction| {
        let meta = head.service(&"s".into()).unwrap().meta;
        // As the version would be once it is committed.
        let meta = Meta { version: meta.version + 1, ..meta };
        head.remove(Kind::Service, &"s".into()).unwrap();
        head.create(Service { meta, ..wish(0) }).unwrap();
    };
    assert_eq!(written(1, "", &scaled), 0, "nobody wants it");
    assert_eq!(written(1, "1!:running", &nothing), 2);
    let replaced = |head: &mut Transaction| {
        change(head, "t1", |task| task.desired_state = TaskState::SHUTDOWN);
        let tasks =
            super::super::testing::tasks("9:failed 1:new>ready", &spec(RestartCondition::Any, 0));
        head.create(tasks[1].clone()).unwrap();
    };
    assert_eq!(written(1, "1!:running", &replaced), 0, "it has been replaced");
    assert_eq!(written(0, "1:running", &nothing), 1);
    let stopped = |head: &mut Transaction| {
        change(head, "t1", |task| task.desired_state = TaskState::REMOVE);
    };
    assert_eq!(written(0, "1:running", &stopped), 0, "it goes already");
    assert_eq!(written(1, "1:running 1:running", &nothing), 1);
    let kept_ends = |head: &mut Transaction| {
        change(head, "t1", |task| task.status.state = TaskState::FAILED);
    };
    assert_eq!(written(1, "1:running 1:running", &kept_ends), 0, "it is the one that runs");
}

fn words() -> impl Strategy<Value = String> {
    let observed = prop::sample::select(vec![
        "new", "pending", "assigned", "ready", "running", "complete", "failed", "rejected",
    ]);
    let desired = prop::sample::select(vec!["ready", "running", "shutdown", "remove"]);
    let node = prop::sample::select(vec!["", "@n1", "@n2", "@down", "@drained"]);
    let word = (1u64..6, any::<bool>(), observed, desired, node).prop_map(
        |(slot, dirty, observed, desired, node)| {
            format!("{slot}{}:{observed}>{desired}{node}", if dirty { "!" } else { "" })
        },
    );
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn converges_to_at_most_one_task_for_each_replica(
        words in words(), replicas in 0u64..7, condition in 0i32..3, attempts in 0u64..3,
    ) {
        let condition = RestartCondition::try_from(condition).unwrap();
        let before = served(&service(replicas, &spec(condition, attempts)), &words);
        for looks in [1, 2, 5] {
            let (changes, _) = reconcile_by(looks, &before, &"s".into());
            prop_assert_eq!(changes, reconcile(&before, &"s".into()), "{} at a time", looks);
        }
        let after = converge(&before);
        let mut slots = BTreeSet::new();
        for task in after.tasks().filter(|task| task.desired_state <= TaskState::RUNNING) {
            prop_assert!(slots.insert(task.slot), "two in slot {}", task.slot);
            prop_assert_eq!(task.spec_version, Some(7));
        }
        prop_assert!(slots.len() as u64 <= replicas);
        for task in before.tasks() {
            prop_assert!(after.task(&task.id).unwrap().desired_state >= task.desired_state);
        }
        if (condition, attempts) == (RestartCondition::Any, 0) {
            prop_assert_eq!(slots.len() as u64, replicas);
        }
    }
}

#[test]
fn slow_commits_create_each_task_once() {
    run(async |tree| {
        let view = served(&service(0, &spec(RestartCondition::Any, 0)), "");
        let store = testing::start_slow(tree, view, Duration::from_millis(500));
        let subject = store.clone();
        tree.child_with_address("replicated", move |life, own| {
            Replicated::new(subject.clone(), environment(), life, own)
        });
        sleep(Duration::from_secs(1)).await;
        // Between two wishes a part of the tasks is decided on and not yet committed.
        for replicas in [6, 300, 301, 250] {
            let written = store.transact(move |head| {
                let version = head.service(&"s".into()).unwrap().meta;
                let mut wish = service(replicas, &spec(RestartCondition::Any, 0));
                wish.meta = version;
                head.update(wish)
            });
            written.await.unwrap();
            sleep(Duration::from_millis(700)).await;
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!(runnable(&store.view()), 250);
        assert_eq!(store.view().tasks().count(), 301, "none was created in vain");
    });
}

#[test]
fn a_new_leader_begins_where_the_old_one_was() {
    run(async |tree| {
        let view = served(&service(3, &spec(RestartCondition::Any, 0)), "2:running@n1");
        let store = testing::start(tree, view);
        let subject = store.clone();
        tree.child_with_address("replicated", move |life, own| {
            Replicated::new(subject.clone(), environment(), life, own)
        });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(runnable(&store.view()), 3);
    });
}
