//! The course of sessions: what is asked when, and what a failure leads to.

use std::time::Duration;

use protocol::wire::{self, assignments_message::Type};

use super::logic::{Effect, Input, Sessions};

fn description(hostname: &str) -> wire::NodeDescription {
    wire::NodeDescription { hostname: hostname.to_owned(), ..wire::NodeDescription::default() }
}

fn request(hostname: Option<&str>, session_id: &str) -> Effect {
    let description = hostname.map(description);
    Effect::Open(Box::new(wire::SessionRequest { description, session_id: session_id.to_owned() }))
}

fn received(session_id: &str) -> Input {
    Input::Received(session_id.to_owned())
}

fn described(hostname: &str) -> Box<wire::NodeDescription> {
    Box::new(description(hostname))
}

/// Sessions of which the first is registered as `s1`.
fn registered() -> Sessions {
    let mut sessions = Sessions::new();
    sessions.step(Input::Begin);
    sessions.step(Input::Described(Some(described("one"))));
    sessions.step(received("s1"));
    sessions
}

fn assignments(kind: Type, applies_to: &str, results_in: &str) -> wire::AssignmentsMessage {
    wire::AssignmentsMessage {
        r#type: kind.into(),
        applies_to: applies_to.to_owned(),
        results_in: results_in.to_owned(),
        changes: Vec::new(),
    }
}

#[test]
fn a_session_is_described_opened_and_then_kept_alive() {
    let mut sessions = Sessions::new();
    assert_eq!(sessions.step(Input::Begin), [Effect::Describe]);
    let opened = sessions.step(Input::Described(Some(described("one"))));
    assert_eq!(opened, [request(Some("one"), "")]);
    let all = [
        Effect::Register("s1".to_owned()),
        Effect::KeepAlive("s1".to_owned()),
        Effect::OpenAssignments("s1".to_owned()),
        Effect::DescribeLater,
    ];
    assert_eq!(sessions.step(received("s1")), all);
}

#[test]
fn a_manager_that_knows_an_older_certificate_is_called_anew_in_the_same_session() {
    // A root that is exchanged changes the description as well.
    for (found, told) in [(None, "one"), (Some(described("two")), "two")] {
        let mut sessions = registered();
        let reopened = sessions.step(Input::Outdated(found.clone()));
        assert_eq!(reopened, [Effect::LetGo, request(Some(told), "s1")]);
        assert_eq!(sessions.step(Input::Outdated(found)), [], "it is on its way");
        let register = Effect::Register("s1".to_owned());
        assert_eq!(sessions.step(received("s1")).first(), Some(&register));
        let same = sessions.step(Input::Described(Some(described(told))));
        assert_eq!(same, [Effect::DescribeLater], "nothing is left to tell");
    }
}

#[test]
fn a_machine_that_cannot_tell_joins_without_a_description() {
    let mut sessions = Sessions::new();
    sessions.step(Input::Begin);
    assert_eq!(sessions.step(Input::Described(None)), [request(None, "")]);
}

#[test]
fn later_session_messages_do_not_register_again() {
    assert_eq!(registered().step(received("s1")), []);
}

#[test]
fn a_failed_session_begins_again_with_the_same_id() {
    let mut sessions = registered();
    let wait = Effect::BeginAfter(Duration::from_millis(100));
    assert_eq!(sessions.step(Input::Failed), [Effect::Close, wait]);
    assert_eq!(sessions.step(Input::Begin), [Effect::Describe]);
    let opened = sessions.step(Input::Described(Some(described("one"))));
    assert_eq!(opened, [request(Some("one"), "s1")]);
}

#[test]
fn waits_grow_up_to_eight_seconds_and_a_registration_forgets_them() {
    let mut sessions = Sessions::new();
    let fail = |sessions: &mut Sessions| {
        sessions.step(Input::Begin);
        sessions.step(Input::Described(None));
        match sessions.step(Input::Failed)[..] {
            [Effect::Close, Effect::BeginAfter(bound)] => bound.as_millis(),
            ref other => panic!("unexpected {other:?}"),
        }
    };
    let waits: Vec<_> = (0..9).map(|_| fail(&mut sessions)).collect();
    assert_eq!(waits, [100, 300, 700, 1_500, 3_100, 6_300, 8_000, 8_000, 8_000]);
    sessions.step(Input::Begin);
    sessions.step(Input::Described(None));
    sessions.step(received("s1"));
    let wait = Effect::BeginAfter(Duration::from_millis(100));
    assert_eq!(sessions.step(Input::Failed), [Effect::Close, wait]);
}

#[test]
fn a_changed_machine_gets_a_new_session_at_once_with_the_same_id() {
    let mut sessions = registered();
    let found = sessions.step(Input::Described(Some(described("two"))));
    assert_eq!(found, [Effect::LetGo, request(Some("two"), "s1")]);
}

#[test]
fn an_unchanged_or_silent_machine_is_asked_again_later() {
    let mut sessions = registered();
    let same = sessions.step(Input::Described(Some(described("one"))));
    assert_eq!(same, [Effect::DescribeLater]);
    assert_eq!(sessions.step(Input::Described(None)), [Effect::DescribeLater]);
}

#[test]
fn assignments_that_follow_each_other_are_applied() {
    let mut sessions = registered();
    for message in [
        assignments(Type::Complete, "", "1"),
        assignments(Type::Incremental, "1", "2"),
        assignments(Type::Incremental, "2", "3"),
    ] {
        assert_eq!(sessions.step(Input::Assigned(message.clone())), [Effect::Apply(message)]);
    }
}

#[test]
fn a_gap_opens_the_assignments_anew_and_what_came_is_still_applied() {
    let mut sessions = registered();
    sessions.step(Input::Assigned(assignments(Type::Complete, "", "1")));
    let message = assignments(Type::Incremental, "2", "3");
    let reopened = Effect::OpenAssignments("s1".to_owned());
    let found = sessions.step(Input::Assigned(message.clone()));
    assert_eq!(found, [Effect::Apply(message), reopened]);
    let complete = assignments(Type::Complete, "", "1");
    assert_eq!(sessions.step(Input::Assigned(complete.clone())), [Effect::Apply(complete)]);
}

#[test]
fn what_belongs_to_a_session_that_is_over_is_ignored() {
    let mut sessions = registered();
    sessions.step(Input::Failed);
    for late in [
        Input::Failed,
        received("s1"),
        Input::Described(None),
        Input::Assigned(assignments(Type::Complete, "", "1")),
    ] {
        assert_eq!(sessions.step(late.clone()), [], "{late:?}");
    }
}
