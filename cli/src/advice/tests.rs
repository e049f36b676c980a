//! What differs between specs, and how advice is shown.

use protocol::swarm::{
    FailedFilter, Lack, NearestMiss, PlanResponse, PlannedTask, TaskExplanation,
    planned_task::Action,
};
use serde_json::{Value, json};

use super::{difference::between, page};

#[track_caller]
fn check(before: &Value, after: &Value, expected: &[(&str, Value, Value)]) {
    let found = between(before, after);
    let found: Vec<_> = found.into_iter().map(|one| (one.field, one.before, one.after)).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(field, before, after)| ((*field).to_owned(), before.clone(), after.clone()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn fields_that_differ_are_named_with_their_way() {
    let null = Value::Null;
    check(&json!({"a": 1}), &json!({"a": 1}), &[]);
    check(
        &json!({"a": {"b": 1, "c": 2}}),
        &json!({"a": {"b": 3, "c": 2}}),
        &[("a.b", json!(1), json!(3))],
    );
    check(&json!({}), &json!({"a": {"b": ["x"]}}), &[("a.b", null.clone(), json!(["x"]))]);
    check(&json!({"a": {"b": "x"}}), &json!({}), &[("a.b", json!("x"), null.clone())]);
    check(&json!({}), &json!({"a": {"b": 0, "c": "", "d": []}}), &[]);
    check(&json!({"a": true}), &json!({"a": false}), &[("a", json!(true), json!(false))]);
    check(&json!({}), &json!({"global": {}}), &[("global", null, json!({}))]);
}

#[test]
fn a_task_that_waits_names_what_would_help() {
    let lack = Lack {
        filter: "ready".to_owned(),
        text: "its availability is DRAIN".to_owned(),
        remedy: "activate the node".to_owned(),
    };
    let task = TaskExplanation {
        task_id: "t1".to_owned(),
        slot: 2,
        reason: "no suitable node".to_owned(),
        failed: vec![FailedFilter { filter: "ready".to_owned(), nodes: 3 }],
        nearest: Some(NearestMiss { node_id: "n1".to_owned(), lacks: vec![lack] }),
        ..TaskExplanation::default()
    };
    let shown = page::task(&task, "", "node-1");
    for line in [": t1", ": no suitable node", ": 3", ": node-1"] {
        assert!(shown.lines().any(|found| found.ends_with(line)), "no {line} in:\n{shown}");
    }
    assert!(shown.contains(": its availability is DRAIN; activate the node"), "{shown}");
}

#[test]
fn a_plan_names_changes_and_nodes() {
    let changes = between(&json!({"a": 1}), &json!({"a": 2, "b": "x"}));
    let task = PlannedTask { slot: 1, action: Action::Create.into(), ..PlannedTask::default() };
    let plan = PlanResponse { tasks: vec![task], kept: 4, left_out: 7 };
    let shown = page::plan(&changes, &plan, &["node-1".to_owned()]);
    assert_eq!(
        shown,
        "Changes:\n  a: 1 -> 2\n  b: \"x\"\nTasks that stay: 4\n\n\
         Slot  Action  Node    Reason\n----  ------  ----    ------\n1     CREATE  node-1  \n\
         ... and 7 more tasks\n"
    );
}
