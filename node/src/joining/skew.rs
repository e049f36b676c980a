//! How far this machine's clock and a manager's are apart, as far as the manager says what time it
//! is.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actors::ca::logic::NODE_EXPIRY_MIN;
use prost_types::Timestamp;
use tonic::metadata::MetadataMap;

/// Clocks that are closer than this trouble nobody: the authority's certificates begin earlier.
const HARMLESS: i64 = 5 * 60;

/// A clock that is off by more than is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    ahead_seconds: i64,
}

impl Skew {
    /// Compares the `date` of an answer with the clock; `None` when they agree, or there is none.
    pub(super) fn of(answer: &MetadataMap, now: &Timestamp) -> Option<Self> {
        let date = answer.get("date")?.to_str().ok()?;
        let theirs: SystemTime = httpdate::parse_http_date(date).ok()?;
        let theirs = theirs.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let ahead_seconds = now.seconds.checked_sub_unsigned(theirs)?;
        (ahead_seconds.abs() > HARMLESS).then_some(Self { ahead_seconds })
    }

    /// Whether a certificate that one side has issued may not have begun for the other, or be over:
    /// none is dated back by less than the shortest of them is valid.
    pub(super) fn is_in_the_way(self) -> bool {
        self.ahead_seconds.unsigned_abs() > NODE_EXPIRY_MIN.as_secs()
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = Duration::from_secs(self.ahead_seconds.unsigned_abs()).as_secs() / 60;
        let side = if self.ahead_seconds > 0 { "ahead of" } else { "behind" };
        write!(formatter, "{minutes} minutes {side} the manager's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_named() {
        let mut answer = MetadataMap::new();
        answer.insert("date", "Thu, 26 Nov 2026 07:14:58 GMT".parse().expect("text"));
        let theirs = 1_795_677_298;
        for (ahead, expected) in [
            (0, None),
            (300, None),
            (-300, None),
            (3600, Some("60 minutes ahead of the manager's")),
            (-3661, Some("61 minutes behind the manager's")),
        ] {
            let skew = Skew::of(&answer, &Timestamp { seconds: theirs + ahead, nanos: 0 });
            assert_eq!(skew.map(|skew| skew.to_string()).as_deref(), expected, "{ahead}");
        }
        for (ahead_seconds, expected) in [(301, false), (1800, false), (1801, true), (-3600, true)]
        {
            assert_eq!(Skew { ahead_seconds }.is_in_the_way(), expected, "{ahead_seconds}");
        }
        let now = Timestamp { seconds: 0, nanos: 0 };
        assert_eq!(Skew::of(&MetadataMap::new(), &now), None, "nobody says what time it is");
        answer.insert("date", "yesterday".parse().expect("text"));
        assert_eq!(Skew::of(&answer, &now), None);
    }
}
