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
