//! RAFT-3: the entries of an append follow each other without a gap, and their terms never fall.

use protocol::raftpb::{Message, MessageType};

/// Looks at a message that a member sends, and says what is wrong with it.
pub fn check(message: &Message) -> Result<(), String> {
    if message.r#type() != MessageType::MsgApp {
        return Ok(());
    }
    let (mut index, mut term) = (message.index(), message.log_term());
    for entry in &message.entries {
        if entry.index() != index + 1 || entry.term() < term {
            return Err(format!(
                "messages: {} sends entry {} of term {} behind entry {index} of term {term}",
                message.from(),
                entry.index(),
                entry.term(),
            ));
        }
        (index, term) = (entry.index(), entry.term());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocol::raftpb::Entry;

    use super::*;

    fn append(indices: &[u64]) -> Message {
        let entry = |index: &u64| Entry { index: Some(*index), ..Default::default() };
        let entries = indices.iter().map(entry).collect();
        let kind = Some(MessageType::MsgApp.into());
        Message { r#type: kind, index: Some(4), entries, ..Default::default() }
    }

    #[test]
    fn a_gap_is_found() {
        check(&append(&[5, 6])).unwrap();
        let text = "messages: 0 sends entry 7 of term 0 behind entry 5 of term 0";
        assert_eq!(check(&append(&[5, 7])).unwrap_err(), text);
    }
}
