//! The signal that asks a task to stop, by the names that engines know.

use nix::sys::signal::Signal;

/// The first and the last real-time signal that programs may use, as engines count them.
const FIRST: i32 = 34;
const LAST: i32 = 64;

/// Returns the number of a signal: by name, with or without `SIG`, or by number; `RTMIN+1` and
/// `RTMAX-1` count real-time signals. Nothing said is SIGTERM; none is no signal.
pub(super) fn number(text: &str) -> Option<i32> {
    if text.is_empty() {
        return Some(Signal::SIGTERM as i32);
    }
    if let Ok(number) = text.parse() {
        return Signal::try_from(number).is_ok().then_some(number).or(real_time(number));
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let from = |start: i32, rest: &str| match rest {
        "" => real_time(start),
        rest if rest.starts_with(['+', '-']) => real_time(start.checked_add(rest.parse().ok()?)?),
        _ => None,
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => from(FIRST, rest),
        (None, Some(rest)) => from(LAST, rest),
        (None, None) => format!("SIG{name}").parse().ok().map(|signal: Signal| signal as i32),
    }
}

fn real_time(number: i32) -> Option<i32> {
    (FIRST..=LAST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, expected) in [
            ("", 15),
            ("SIGINT", 2),
            ("INT", 2),
            ("int", 2),
            ("sigint", 2),
            ("2", 2),
            ("SIGRTMIN", 34),
            ("rtmin+3", 37),
            ("SIGRTMAX-14", 50),
            ("RTMAX", 64),
            ("37", 37),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        let none = ["SIG", "SIGNOT", "0", "-1", "32", "65", "99999999999", "INT+1"];
        let none_of_real_time = ["RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+", "RTMIN+99999999999"];
        for text in none.into_iter().chain(none_of_real_time) {
            assert_eq!(number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(text: String, by: i32) {
            number(&text);
            number(&format!("RTMIN{by:+}"));
            number(&format!("RTMAX{by:+}"));
        }
    }
}
