//! Encryption of the durable log, with a key of the node's own.
//!
//! A nonce must never come twice under one key, and the log is rewritten: after a truncation or
//! a recovery the same position holds other bytes. So nothing about a nonce comes from the
//! position. Each [`LogCipher`] draws a random salt when it is made, derives a key that only it
//! seals with, and counts its nonces. A record carries salt and count; its position is
//! authenticated, so that a record moved elsewhere does not open.

use std::cell::{Cell, RefCell};

use actors::log::Cipher;
use rand::{RngCore, rngs::OsRng};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
};

use crate::identity::DataKey;

const SALT_LEN: usize = 16;
const COUNT_LEN: usize = 8;

/// Bound into every derived key, so that the data key can serve other purposes later.
const PURPOSE: &[u8] = b"swarmd log records v1";

/// Seals and opens log records; one per run of the log.
pub struct LogCipher {
    root: Prk,
    salt: [u8; SALT_LEN],
    key: LessSafeKey,
    sealed_count: Cell<u64>,
    /// The key of the run whose records are being read; runs follow each other in the log.
    reading: RefCell<Option<([u8; SALT_LEN], LessSafeKey)>>,
}

impl LogCipher {
    /// Makes a cipher that seals under a key no other cipher has sealed with, and opens what
    /// any cipher with the same data key has sealed.
    pub fn new(data_key: &DataKey) -> Self {
        let root = Salt::new(HKDF_SHA256, PURPOSE).extract(data_key.bytes());
        let mut salt = [0; SALT_LEN];
        OsRng.fill_bytes(&mut salt);
        let key = derive(&root, &salt);
        Self { root, salt, key, sealed_count: Cell::new(0), reading: RefCell::new(None) }
    }
}

impl Cipher for LogCipher {
    fn seal(&self, sequence: u64, plain: &[u8], out: &mut Vec<u8>) {
        let count = self.sealed_count.get();
        self.sealed_count.set(count.checked_add(1).expect("2^64 records are never written"));
        let count = count.to_be_bytes();
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&count);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(&count), position(sequence), &mut out[start..])
            .expect("a record is shorter than 64 GiB");
        out.extend_from_slice(tag.as_ref());
    }

    fn open(&self, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>()?;
        let (count, text) = rest.split_first_chunk::<COUNT_LEN>()?;
        let mut reading = self.reading.borrow_mut();
        let key = match &mut *reading {
            Some((of, key)) if of == salt => key,
            other => &mut other.insert((*salt, derive(&self.root, salt))).1,
        };
        let mut text = text.to_vec();
        let length = key.open_in_place(nonce(count), position(sequence), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn derive(root: &Prk, salt: &[u8; SALT_LEN]) -> LessSafeKey {
    let key: UnboundKey =
        root.expand(&[salt], &AES_256_GCM).expect("32 bytes are far below the limit").into();
    LessSafeKey::new(key)
}

fn nonce(count: &[u8; COUNT_LEN]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - COUNT_LEN..].copy_from_slice(count);
    Nonce::assume_unique_for_key(bytes)
}

fn position(sequence: u64) -> Aad<[u8; 8]> {
    Aad::from(sequence.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seal(cipher: &LogCipher, sequence: u64, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        cipher.seal(sequence, plain, &mut out);
        out
    }

    #[test]
    fn what_is_sealed_opens_in_this_run_and_in_later_ones() {
        let key = DataKey::generate();
        let first = LogCipher::new(&key);
        let early = seal(&first, 1, b"one");
        let second = LogCipher::new(&key);
        let late = seal(&second, 2, b"two");
        for reader in [&first, &second, &LogCipher::new(&key)] {
            assert_eq!(reader.open(1, &early).as_deref(), Some(&b"one"[..]));
            assert_eq!(reader.open(2, &late).as_deref(), Some(&b"two"[..]));
            assert_eq!(reader.open(1, &early).as_deref(), Some(&b"one"[..]));
        }
    }

    #[test]
    fn sealing_adds_to_what_is_there() {
        let cipher = LogCipher::new(&DataKey::generate());
        let mut out = b"before".to_vec();
        cipher.seal(1, b"plain", &mut out);
        let sealed = out.strip_prefix(b"before").expect("kept");
        assert_eq!(cipher.open(1, sealed).as_deref(), Some(&b"plain"[..]));
    }

    #[test]
    fn a_record_opens_only_where_it_was_written() {
        let cipher = LogCipher::new(&DataKey::generate());
        let sealed = seal(&cipher, 7, b"plain");
        assert_eq!(cipher.open(8, &sealed), None);
    }

    #[test]
    fn another_key_opens_nothing() {
        let sealed = seal(&LogCipher::new(&DataKey::generate()), 1, b"plain");
        assert_eq!(LogCipher::new(&DataKey::generate()).open(1, &sealed), None);
    }

    #[test]
    fn no_nonce_comes_twice_however_often_a_position_is_written() {
        let key = DataKey::generate();
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let cipher = LogCipher::new(&key);
            for _ in 0..100 {
                let sealed = seal(&cipher, 1, b"same");
                let header = sealed[..SALT_LEN + COUNT_LEN].to_vec();
                assert!(seen.insert(header), "salt and count together make key and nonce");
            }
        }
    }

    #[test]
    fn the_plain_text_does_not_show() {
        let plain = [b'x'; 64];
        let sealed = seal(&LogCipher::new(&DataKey::generate()), 1, &plain);
        assert!(!sealed.windows(8).any(|window| window == &plain[..8]));
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(plain: Vec<u8>, at: prop::sample::Index, by in 1_u8..) {
            let cipher = LogCipher::new(&DataKey::generate());
            let mut sealed = seal(&cipher, 1, &plain);
            prop_assert_eq!(cipher.open(1, &sealed), Some(plain));
            let at = at.index(sealed.len());
            prop_assert_eq!(cipher.open(1, &sealed[..at]), None);
            sealed[at] ^= by;
            prop_assert_eq!(cipher.open(1, &sealed), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let cipher = LogCipher::new(&DataKey::generate());
            prop_assert_eq!(cipher.open(0, &bytes), None);
        }
    }
}
