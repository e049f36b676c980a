//! Join tokens: what a new node shows to be let in, and how it knows the right root certificate.
//!
//! A token pins the cluster's root by a digest over the *stored* PEM bytes (re-encoding the PEM
//! would break every token) and carries a secret that only says which role the joiner gets
//! (`cluster-security-dispatch` §3). Hashing is not done here; it needs a crypto crate.

use std::{fmt, str::FromStr};

use num_bigint::BigUint;
use rand::{CryptoRng, RngCore};

/// What every token starts with.
const PREFIX: &str = "SWMTKN";
/// Both numbers in a token are written in this base, with lower-case digits.
const BASE: u32 = 36;
/// Digits of a digest, padded with zeros on the left.
const DIGEST_DIGITS: usize = 50;
/// Digits of a secret, padded with zeros on the left.
const SECRET_DIGITS: usize = 25;
/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 16;

/// SHA-256 over the PEM bytes of the cluster's root bundle, exactly as they are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RootDigest(pub [u8; 32]);

impl RootDigest {
    /// Returns the lower-case hexadecimal form, as in error texts.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns `sha256:<hex>`, the form kept in `Cluster.root_ca.ca_cert_hash`.
    pub fn labelled(&self) -> String {
        format!("sha256:{}", self.hex())
    }
}

impl fmt::Debug for RootDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.labelled())
    }
}

/// A join token; `Display` gives the text that operators copy.
///
/// A manager admits by comparing texts in constant time, so two equal tokens always have the
/// same text. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Which root the cluster has.
    pub digest: RootDigest,
    /// `None` for version 1; for version 2, whether the cluster demands FIPS mode.
    pub fips: Option<bool>,
    secret: [u8; SECRET_BYTES],
}

impl JoinToken {
    /// Makes a version 1 token with a new secret.
    pub fn generate(digest: RootDigest, random: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut secret = [0; SECRET_BYTES];
        random.fill_bytes(&mut secret);
        Self { digest, fips: None, secret }
    }

    /// Returns a token for the same root whose secret is new: the old one no longer admits.
    #[must_use]
    pub fn rotated(&self, random: &mut (impl RngCore + CryptoRng)) -> Self {
        Self { fips: self.fips, ..Self::generate(self.digest, random) }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fips {
            None => write!(formatter, "{PREFIX}-1-")?,
            Some(fips) => write!(formatter, "{PREFIX}-2-{}-", u8::from(fips))?,
        }
        let digest = digits(&self.digest.0, DIGEST_DIGITS);
        let secret = digits(&self.secret, SECRET_DIGITS);
        write!(formatter, "{digest}-{secret}")
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinToken")
            .field("digest", &self.digest)
            .field("fips", &self.fips)
            .finish_non_exhaustive()
    }
}

/// The text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let parts: Vec<_> = text.split('-').collect();
        let (fips, digest, secret) = match parts[..] {
            [PREFIX, "1", digest, secret] => (None, digest, secret),
            [PREFIX, "2", "0", digest, secret] => (Some(false), digest, secret),
            [PREFIX, "2", "1", digest, secret] => (Some(true), digest, secret),
            _ => return Err(InvalidToken),
        };
        let digest = RootDigest(number(digest, DIGEST_DIGITS).ok_or(InvalidToken)?);
        let secret = number(secret, SECRET_DIGITS).ok_or(InvalidToken)?;
        Ok(Self { digest, fips, secret })
    }
}

fn digits(bytes: &[u8], width: usize) -> String {
    let digits = BigUint::from_bytes_be(bytes).to_str_radix(BASE);
    format!("{digits:0>width$}")
}

/// Reads exactly `width` digits; `None` when there are more, fewer, others, or the value does
/// not fit.
fn number<const BYTES: usize>(text: &str, width: usize) -> Option<[u8; BYTES]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z');
    if text.len() != width || !text.as_bytes().iter().all(is_digit) {
        return None;
    }
    let value = BigUint::parse_bytes(text.as_bytes(), BASE)?.to_bytes_be();
    let mut bytes = [0; BYTES];
    let start = BYTES.checked_sub(value.len())?;
    bytes[start..].copy_from_slice(&value);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const TEXT: &str =
        "SWMTKN-1-23ftax99mvumktjqhj9l1nmglkgokpknat7eklpbkv8nw6m8ge-0x7kezvh0ec8jq2r5afy6q6nm";

    fn parse(text: &str) -> Result<JoinToken, InvalidToken> {
        text.parse()
    }

    #[test]
    fn a_token_of_a_running_cluster_reads_and_writes() {
        let token = parse(TEXT).expect("a token as operators see it");
        assert_eq!(token.fips, None);
        assert_eq!(token.to_string(), TEXT);
    }

    #[test]
    fn small_numbers_are_padded_with_zeros() {
        let token = JoinToken { digest: RootDigest([0; 32]), fips: Some(true), secret: [0; 16] };
        let expected = format!("SWMTKN-2-1-{}-{}", "0".repeat(50), "0".repeat(25));
        assert_eq!(token.to_string(), expected);
        assert_eq!(parse(&expected), Ok(token));
    }

    #[test]
    fn anything_else_is_refused() {
        let z = |count| "z".repeat(count);
        for text in [
            String::new(),
            TEXT.to_uppercase(),
            TEXT.replace("-1-", "-3-"),
            TEXT.replace("-1-", "-2-"),
            TEXT.replace("-1-", "-2-2-"),
            TEXT.replace("SWMTKN", "SWMKEY"),
            format!("{TEXT}-"),
            format!("{TEXT}0"),
            format!(" {TEXT}"),
            TEXT.replace("23ft", "23f"),
            TEXT.replace("23ft", "23f+"),
            format!("SWMTKN-1-{}-{}", z(50), "0".repeat(25)),
            format!("SWMTKN-1-{}-{}", "0".repeat(50), z(25)),
        ] {
            assert_eq!(parse(&text), Err(InvalidToken), "{text}");
        }
    }

    #[test]
    fn rotation_keeps_the_root_and_changes_the_secret() {
        let mut random = StdRng::seed_from_u64(1);
        let token = JoinToken { fips: Some(false), ..parse(TEXT).expect("valid") };
        let rotated = token.rotated(&mut random);
        assert_eq!((rotated.digest, rotated.fips), (token.digest, token.fips));
        assert_ne!(rotated.to_string(), token.to_string());
        assert_ne!(rotated.rotated(&mut random), rotated);
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        let token = parse(TEXT).expect("valid");
        assert!(!format!("{token:?}").contains("0x7kezvh0ec8jq2r5afy6q6nm"));
    }

    #[test]
    fn a_digest_is_shown_as_hex() {
        let mut digest = RootDigest([0; 32]);
        digest.0[0] = 0xab;
        assert_eq!(digest.labelled(), format!("sha256:ab{}", "0".repeat(62)));
    }

    proptest! {
        #[test]
        fn every_token_survives_its_text(
            digest: [u8; 32], secret: [u8; 16], fips: Option<bool>,
        ) {
            let token = JoinToken { digest: RootDigest(digest), fips, secret };
            prop_assert_eq!(parse(&token.to_string()), Ok(token));
        }

        #[test]
        fn what_is_accepted_is_written_the_same(text in "SWMTKN-(1|2-[01])-[0-9a-z]{50}-[0-9a-z]{25}") {
            if let Ok(token) = parse(&text) {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text: String, at in 0..TEXT.len(), with: char) {
            let _ = parse(&text);
            let _ = parse(&format!("{}{with}{}", &TEXT[..at], &TEXT[at + 1..]));
        }
    }
}
