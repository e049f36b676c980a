//! Numbers in use, held against a plain count of each.

use std::{collections::BTreeMap, ops::RangeInclusive};

use proptest::{collection::vec, prelude::*};

use super::super::logic::numbers::{Numbers, Runs};

#[derive(Clone, Debug)]
enum Step {
    Take(u128),
    GiveBack(u128),
    HandOut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u128..40).prop_map(Step::Take),
        (0_u128..40).prop_map(Step::GiveBack),
        Just(Step::HandOut),
    ]
}

fn hand_out(numbers: &mut Numbers, range: &RangeInclusive<u128>) -> Option<u128> {
    let number = numbers.take_next(range)?;
    numbers.handed_out(*range.start(), number);
    Some(number)
}

proptest! {
    #[test]
    fn numbers_are_counted_and_the_next_free_one_is_found(steps in vec(step(), 0..120)) {
        let (range, mut last) = (10_u128..=25, None);
        let (mut numbers, mut users) = (Numbers::default(), BTreeMap::<u128, u32>::new());
        for step in steps {
            match step {
                Step::Take(number) => {
                    numbers.take(number);
                    *users.entry(number).or_default() += 1;
                }
                Step::GiveBack(number) if users.get(&number).is_some_and(|users| *users > 0) => {
                    let left = users[&number] - 1;
                    users.insert(number, left);
                    prop_assert_eq!(numbers.give_back(number), left == 0);
                }
                Step::GiveBack(_) => {}
                Step::HandOut => {
                    let is_free = |number: &u128| users.get(number).is_none_or(|users| *users == 0);
                    let behind = last.map_or(10, |last: u128| last + 1);
                    let wanted = (behind..=25).chain(10..behind).find(is_free);
                    let found = hand_out(&mut numbers, &range);
                    prop_assert_eq!(found, wanted);
                    if let Some(number) = found {
                        users.insert(number, 1);
                        last = Some(number);
                    }
                }
            }
            for number in 0..40 {
                let is_used = users.get(&number).is_some_and(|users| *users > 0);
                prop_assert_eq!(numbers.is_used(number), is_used);
            }
        }
    }

    #[test]
    fn runs_are_sets(steps in vec((any::<bool>(), 0_u128..30, 0_u128..6), 0..40)) {
        let (mut runs, mut set) = (Runs::default(), [false; 40]);
        for (insert, first, length) in steps {
            let last = first + length;
            if insert { runs.insert(first, last) } else { runs.remove(first, last) }
            (first..=last).for_each(|number| set[number as usize] = insert);
            for number in 0..40 {
                prop_assert_eq!(runs.contains(number), set[number as usize]);
            }
            prop_assert_eq!(runs.is_empty(), set.iter().all(|is_in| !is_in));
        }
    }

    #[test]
    fn what_was_full_is_full_again(released in vec(0_u128..64, 1..64)) {
        let range = 0..=63;
        let mut numbers = Numbers::default();
        while hand_out(&mut numbers, &range).is_some() {}
        let full = numbers.clone();
        let mut released = released;
        released.sort_unstable();
        released.dedup();
        for number in &released {
            assert!(numbers.give_back(*number));
        }
        let mut again: Vec<_> = released.iter().filter_map(|_| hand_out(&mut numbers, &range)).collect();
        again.sort_unstable();
        prop_assert_eq!(again, released);
        prop_assert_eq!(numbers, full);
    }
}

#[test]
fn the_ends_of_all_numbers_are_numbers() {
    let mut runs = Runs::default();
    runs.insert(u128::MAX, u128::MAX);
    runs.insert(0, 0);
    assert!(runs.contains(0) && runs.contains(u128::MAX) && !runs.contains(1));
    runs.insert(0, u128::MAX);
    runs.remove(5, u128::MAX);
    assert_eq!(runs.last_within(0, u128::MAX), Some((0, 4)));
    let mut numbers = Numbers::default();
    numbers.take(u128::MAX);
    assert_eq!(numbers.take_next(&(u128::MAX..=u128::MAX)), None);
    let nothing = RangeInclusive::new(2, 1);
    assert_eq!(numbers.take_next(&nothing), None);
}
