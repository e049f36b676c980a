//! Damage to valid bytes, for the properties of decoders: it gets further into them than bytes
//! that nobody wrote.

use proptest::{collection::vec, option, prelude::*, sample::Index};

/// Some bytes replaced, and perhaps an end that is missing.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    replaced: Vec<(Index, u8)>,
    kept: Option<Index>,
}

/// Any damage, none among it.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let kept = option::weighted(0.2, any::<Index>());
    (vec(any::<(Index, u8)>(), 0..8), kept).prop_map(|(replaced, kept)| Damage { replaced, kept })
}

impl Damage {
    /// The bytes with this damage.
    pub(crate) fn done_to(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        for (at, by) in &self.replaced {
            let at = at.index(bytes.len());
            bytes[at] = *by;
        }
        if let Some(kept) = self.kept {
            bytes.truncate(kept.index(bytes.len()));
        }
        bytes
    }
}
