//! The text form of the key that locks managers: what an operator keeps in a safe place
//! (`cluster-security-dispatch` §9).

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// What every unlock key starts with.
const PREFIX: &str = "SWMKEY-1-";

/// A key of 32 bytes; `Display` gives the text that operators copy, `Debug` nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct UnlockKey(pub [u8; 32]);

/// The text is no unlock key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid key string")]
pub struct InvalidKey;

impl fmt::Display for UnlockKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UnlockKey(..)")
    }
}

impl FromStr for UnlockKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidKey)?;
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| InvalidKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_other_lengths_and_other_prefixes_are_refused() {
        let text = UnlockKey([0; 32]).to_string();
        assert_eq!(text, format!("SWMKEY-1-{}", "A".repeat(43)));
        for wrong in [
            String::new(),
            format!("{text}="),
            format!("{text}A"),
            format!("{text}AAA"),
            format!("SWMKEY-1-{}", "A".repeat(42)),
            text.replace("-1-", "-2-"),
            text.replace('A', "-"),
            format!(" {text}"),
        ] {
            assert_eq!(wrong.parse::<UnlockKey>(), Err(InvalidKey), "{wrong}");
        }
        assert_eq!(InvalidKey.to_string(), "invalid key string");
    }

    #[test]
    fn the_debug_form_hides_the_key() {
        assert_eq!(format!("{:?}", UnlockKey([1; 32])), "UnlockKey(..)");
    }

    proptest! {
        #[test]
        fn every_key_survives_its_text(bytes: [u8; 32]) {
            let key = UnlockKey(bytes);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<UnlockKey>();
            let _ = format!("{PREFIX}{text}").parse::<UnlockKey>();
        }
    }
}
