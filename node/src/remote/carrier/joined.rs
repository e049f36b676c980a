//! Several raft messages as one that says the same. Calls to a member follow each other, and each
//! takes a while: what waits meanwhile goes together.

use prost::Message as _;
use protocol::raftpb::{Message, MessageType};

/// A message is not made larger than this; the appends of raft are about as large by themselves.
const BYTES_MAX: usize = 1 << 20;

/// Joins a message with those that wait behind it, as long as the one that comes of it says what they
/// would say one after the other. Returns it, and the first that has to go by itself.
pub(super) fn joined(
    mut message: Message,
    mut waiting: impl FnMut() -> Option<Message>,
) -> (Message, Option<Message>) {
    let mut bytes = message.encoded_len();
    while let Some(next) = waiting() {
        bytes += next.encoded_len();
        if bytes > BYTES_MAX || !goes_on(&message, &next) {
            return (message, Some(next));
        }
        message = both(message, next);
    }
    (message, None)
}

/// Whether two messages can be one.
fn goes_on(message: &Message, next: &Message) -> bool {
    let envelope = |message: &Message| (message.r#type(), message.from, message.to, message.term);
    let is_plain = |message: &Message| {
        !message.reject() && message.snapshot.is_none() && message.context().is_empty()
    };
    if envelope(message) != envelope(next) || !is_plain(message) || !is_plain(next) {
        return false;
    }
    if message.r#type() == MessageType::MsgApp {
        let last = message.entries.last();
        let term = last.map_or(message.log_term(), |entry| entry.term());
        let index = last.map_or(message.index(), |entry| entry.index());
        (next.index(), next.log_term()) == (index, term)
    } else {
        message.r#type() == MessageType::MsgAppResp && next.index() >= message.index()
    }
}

fn both(message: Message, next: Message) -> Message {
    let commit = message.commit.max(next.commit);
    if message.r#type() == MessageType::MsgApp {
        let mut both = message;
        both.entries.extend(next.entries);
        Message { commit, ..both }
    } else {
        // What a member has includes what it had.
        Message { commit, ..next }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::raftpb::Entry;

    use super::*;

    fn message(kind: MessageType, index: u64) -> Message {
        Message {
            r#type: Some(kind.into()),
            from: Some(1),
            to: Some(2),
            term: Some(5),
            log_term: Some(5),
            index: Some(index),
            ..Message::default()
        }
    }

    /// An append of so many entries behind an index.
    fn append(index: u64, count: u64) -> Message {
        let entry = |index| Entry { term: Some(5), index: Some(index), ..Entry::default() };
        let entries = (1..=count).map(|number| entry(index + number)).collect();
        let commit = Some(index);
        Message { entries, commit, ..message(MessageType::MsgApp, index) }
    }

    fn all(messages: Vec<Message>) -> (Message, usize) {
        let mut waiting = messages.into_iter();
        let first = waiting.next().expect("one at least");
        let (message, next) = joined(first, || waiting.next());
        (message, waiting.count() + next.iter().count())
    }

    #[test]
    fn appends_that_follow_each_other_are_one() {
        let (message, left) = all(vec![append(7, 2), append(9, 0), append(9, 1), append(10, 3)]);
        assert_eq!((message, left), (Message { commit: Some(10), ..append(7, 6) }, 0));
    }

    #[test]
    fn a_member_that_has_more_has_what_it_had() {
        let has = |index| message(MessageType::MsgAppResp, index);
        let committed = Message { commit: Some(4), ..has(7) };
        let (message, left) = all(vec![committed, has(7), has(9)]);
        assert_eq!((message, left), (Message { commit: Some(4), ..has(9) }, 0));
    }

    #[test]
    fn what_says_something_else_goes_by_itself() {
        let has = |index| message(MessageType::MsgAppResp, index);
        let rejects = |index| Message { reject: Some(true), ..has(index) };
        for (what, first, next) in [
            ("a gap", append(7, 1), append(9, 1)),
            ("the same again", append(7, 1), append(7, 1)),
            ("another term", append(7, 1), Message { term: Some(6), ..append(8, 1) }),
            ("behind another entry", append(7, 1), Message { log_term: Some(4), ..append(8, 1) }),
            ("from another", append(7, 1), Message { from: Some(3), ..append(8, 1) }),
            ("a rejection before", rejects(7), has(8)),
            ("a rejection behind", has(7), rejects(8)),
            ("less than before", has(8), has(7)),
            ("another kind", append(7, 1), has(8)),
            (
                "heartbeats",
                message(MessageType::MsgHeartbeat, 0),
                message(MessageType::MsgHeartbeat, 0),
            ),
            ("a context", append(7, 1), Message { context: Some("c".into()), ..append(8, 1) }),
        ] {
            assert_eq!(all(vec![first.clone(), next, append(20, 1)]), (first, 2), "{what}");
        }
    }

    #[test]
    fn no_message_grows_without_end() {
        let large = |index| {
            let data = Some(Bytes::from(vec![7; BYTES_MAX / 3]));
            let entry = Entry { term: Some(5), index: Some(index + 1), data, r#type: None };
            Message { entries: vec![entry], ..append(index, 0) }
        };
        let (message, left) = all((7..12).map(large).collect());
        assert_eq!((message.entries.len(), left), (2, 3));
    }
}
