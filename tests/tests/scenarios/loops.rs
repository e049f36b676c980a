//! The loops of a leader over an agent, while leaders come and go.

use tests::{
    plan::{When, at},
    run::{Family, Story},
    world::{Crash, Way},
};

use super::SECOND;

/// Found by seed 1: the leadership died of the news that its term was over, and let go of loops
/// that nobody stopped. In the next term two sets of them wrote.
#[test]
fn loops_end_with_their_term_although_their_leadership_dies() {
    let leadership_dies = |millis| {
        [1, 2, 3].map(|member| at(millis).death(member, "leadership", When::AfterHandling))
    };
    let mut faults = Vec::new();
    for member in 1..=3 {
        let millis = 8_000 * member;
        faults.extend(leadership_dies(millis));
        faults.push(at(millis + 500).lasting(2_500).partition([member], Way::Both));
        faults.push(at(millis + 4_000).lasting(2_000).crash([member % 3 + 1], Crash::Power));
    }
    Story { seed: 1, time: 40 * SECOND, faults, family: Family::Loops }.hold();
}

/// A message that kills its actor is gone; raft says again what nobody has heard.
#[test]
fn a_leader_has_its_loops_although_their_leadership_dies_before_it_hears() {
    let deaths = [1, 2, 3].map(|member| at(10).death(member, "leadership", When::BeforeHandling));
    let report =
        Story { seed: 2, time: 20 * SECOND, faults: deaths.into(), family: Family::Loops }.hold();
    assert!(report.counts["check: every service has its tasks"] > 0);
}

/// Found by seed 3: the loops of a member that led again drew the ids that they had drawn before.
#[test]
fn a_member_that_leads_again_gives_other_ids_to_its_tasks() {
    let mut faults = Vec::new();
    for (millis, to) in (5_000..40_000).step_by(4_000).zip([1, 2].into_iter().cycle()) {
        faults.push(at(millis).hands_over(Some(to)));
        faults.push(at(millis + 2_000).exits(3, 1));
    }
    let report = Story { seed: 3, time: 45 * SECOND, faults, family: Family::Loops }.hold();
    assert!(report.counts["fault: leadership handed over"] > 4);
}

#[test]
fn tasks_that_end_are_replaced_however_often_the_leader_changes() {
    let mut faults = Vec::new();
    for millis in (3_000..40_000).step_by(3_000) {
        faults.push(at(millis).exits(2, 1));
        faults.push(at(millis + 1_500).lasting(1_800).partition([millis % 3 + 1], Way::Both));
    }
    let report = Story { seed: 3, time: 45 * SECOND, faults, family: Family::Loops }.hold();
    assert!(report.counts["seen: replacement started"] > 0);
}
