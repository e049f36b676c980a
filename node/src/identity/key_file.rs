//! The node's private key as a file: PKCS#8 in PEM, whose headers carry the key of the log
//! (`store-and-raft` §11.2).

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use pem::{EncodeConfig, LineEnding, Pem};
use prost::Message;
use protocol::wire::{MaybeEncryptedRecord, maybe_encrypted_record::Algorithm};
use rand::{RngCore, rngs::OsRng};
use rustls::pki_types::PrivatePkcs8KeyDer;

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const DATA_KEY: &str = "raft-dek";
const LOCK_VERSION: &str = "kek-version";

/// The key that everything in this node's log is encrypted with.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// Draws a new key.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Returns the key itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(..)")
    }
}

/// What the key file holds.
pub struct KeyFile {
    /// The private key.
    pub key: PrivatePkcs8KeyDer<'static>,
    /// The key of the log; `None` on a node that has never been a manager.
    pub data_key: Option<DataKey>,
    /// The version of the cluster object whose unlock key the file is locked with; 0 while
    /// managers are not locked.
    pub lock_version: u64,
    /// Headers that this version does not know; written back as they were.
    pub other: BTreeMap<String, String>,
}

/// Why a key file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is locked with a key from outside.
    #[error("node is locked, and needs a valid unlock key")]
    Locked,
    /// It has no PEM block, or one that is damaged.
    #[error("it is not valid PEM")]
    Pem,
    /// It has a PEM block of another kind.
    #[error("it holds no PKCS#8 private key")]
    Kind,
    /// The data key's header cannot be read.
    #[error("its raft-dek header is damaged")]
    DataKey,
    /// The lock version's header is no number.
    #[error("its kek-version header is damaged")]
    LockVersion,
}

impl KeyFile {
    /// Reads the bytes of a key file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let block = pem::parse(bytes).map_err(|_| Malformed::Pem)?;
        match block.tag() {
            PLAIN => {}
            ENCRYPTED => return Err(Malformed::Locked),
            _ => return Err(Malformed::Kind),
        }
        let mut other: BTreeMap<_, _> = block
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let data_key = other.remove(DATA_KEY).map(|text| data_key(&text)).transpose()?;
        let lock_version = match other.remove(LOCK_VERSION) {
            Some(text) => text.parse().map_err(|_| Malformed::LockVersion)?,
            None => 0,
        };
        Ok(Self { key: block.into_contents().into(), data_key, lock_version, other })
    }

    /// Returns the file of a node that has a log, with a key for it, or of one that has none. A log is
    /// begun or given up then: nothing that any version notes of an earlier key is kept.
    pub(super) fn with_log(mut self, has_log: bool) -> Self {
        self.data_key = self.data_key.filter(|_| has_log);
        if self.data_key.is_none() {
            self.other.retain(|name, _| !name.starts_with(DATA_KEY));
            self.data_key = has_log.then(DataKey::generate);
        }
        self
    }

    /// Returns the bytes of the file, headers sorted by name.
    pub fn encode(&self) -> String {
        let mut headers = self.other.clone();
        headers.insert(LOCK_VERSION.to_owned(), self.lock_version.to_string());
        if let Some(DataKey(bytes)) = &self.data_key {
            let record = MaybeEncryptedRecord {
                algorithm: Algorithm::None.into(),
                data: bytes.to_vec().into(),
                ..Default::default()
            };
            headers.insert(DATA_KEY.to_owned(), STANDARD.encode(record.encode_to_vec()));
        }
        let block = plain_pem(PLAIN, self.key.secret_pkcs8_der());
        let (begin, body) = block.split_once('\n').expect("a PEM block has several lines");
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{begin}\n{headers}\n{body}")
    }
}

/// Returns a PEM block without headers, with the line ends that Go writes.
pub(super) fn plain_pem(tag: &str, contents: &[u8]) -> String {
    let unix = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(tag, contents), unix)
}

/// Returns a PKCS#8 private key as PEM.
pub(super) fn private_key_pem(key: &[u8]) -> String {
    plain_pem(PLAIN, key)
}

fn data_key(text: &str) -> Result<DataKey, Malformed> {
    let bytes = STANDARD.decode(text).map_err(|_| Malformed::DataKey)?;
    let record = MaybeEncryptedRecord::decode(&*bytes).map_err(|_| Malformed::DataKey)?;
    match record.algorithm() {
        Algorithm::None if record.algorithm == Algorithm::None as i32 => {}
        Algorithm::None => return Err(Malformed::DataKey),
        Algorithm::SecretboxSalsa20Poly1305 | Algorithm::FernetAes128Cbc => {
            return Err(Malformed::Locked);
        }
    }
    <[u8; 32]>::try_from(&*record.data).map(DataKey).map_err(|_| Malformed::DataKey)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> KeyFile {
        KeyFile {
            key: vec![7; 120].into(),
            data_key: Some(DataKey([9; 32])),
            lock_version: 0,
            other: BTreeMap::new(),
        }
    }

    fn parse(text: &str) -> Result<KeyFile, Malformed> {
        KeyFile::parse(text.as_bytes())
    }

    #[test]
    fn headers_stand_between_the_first_line_and_the_key() {
        let text = file().encode();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "-----BEGIN PRIVATE KEY-----");
        assert_eq!(lines[1], "kek-version: 0");
        assert!(lines[2].starts_with("raft-dek: "), "{}", lines[2]);
        assert_eq!(lines[3], "");
        assert_eq!(lines.last(), Some(&"-----END PRIVATE KEY-----"));
    }

    #[test]
    fn the_data_key_is_a_record_that_says_it_is_not_encrypted() {
        let text = file().encode();
        let (_, rest) = text.split_once("raft-dek: ").expect("the header");
        let (value, _) = rest.split_once('\n').expect("its end");
        // Tag 2, 32 bytes; algorithm none is the default and takes no room.
        let expected = [&[0x12, 32][..], &[9; 32]].concat();
        assert_eq!(STANDARD.decode(value), Ok(expected));
    }

    #[test]
    fn unknown_headers_come_back() {
        let mut with = file();
        with.lock_version = 17;
        with.other.insert("raft-dek-needs-rotation".to_owned(), "true".to_owned());
        let again = parse(&with.encode()).expect("it was written by us");
        assert_eq!(again.encode(), with.encode());
        assert_eq!((again.lock_version, again.other.len()), (17, 1));
    }

    #[test]
    fn what_is_noted_of_a_logs_key_goes_with_it() {
        let noted = ["raft-dek-needs-rotation", "raft-dek-pending"];
        let with = |data_key: Option<DataKey>| {
            let value = |name: &str| (name.to_owned(), "noted".to_owned());
            let other = noted.into_iter().chain(["made-up", "raft"]).map(value).collect();
            KeyFile { data_key, other, lock_version: 17, ..file() }
        };
        let names = |file: &KeyFile| file.other.keys().cloned().collect::<Vec<_>>();
        let own = Some(DataKey([9; 32]));
        let kept = with(own.clone()).with_log(true);
        assert_eq!((&kept.data_key, names(&kept).len()), (&own, 4), "the log goes on");
        let demoted = with(own.clone()).with_log(false);
        assert_eq!((&demoted.data_key, demoted.lock_version), (&None, 17));
        assert_eq!(names(&demoted), ["made-up", "raft"]);
        let promoted = with(None).with_log(true);
        assert!(promoted.data_key.is_some_and(|key| Some(key) != own), "a new log, a new key");
        assert_eq!(names(&demoted), names(&with(None).with_log(true)));
    }

    #[test]
    fn a_key_without_headers_reads() {
        let read = parse(&private_key_pem(&[1; 40])).expect("plain PKCS#8");
        assert_eq!((read.data_key, read.lock_version), (None, 0));
        assert_eq!(read.key.secret_pkcs8_der(), [1; 40]);
    }

    #[test]
    fn a_locked_file_says_so() {
        let text = file().encode();
        let locked = MaybeEncryptedRecord { algorithm: 1, ..Default::default() };
        let sealed = format!("raft-dek: {}", STANDARD.encode(locked.encode_to_vec()));
        let (before, rest) = text.split_once("raft-dek").expect("the header");
        let (_, after) = rest.split_once('\n').expect("its end");
        let check = |text: &str| parse(text).err().map(|error| error.to_string());
        let expected = Some("node is locked, and needs a valid unlock key".to_owned());
        assert_eq!(check(&format!("{before}{sealed}\n{after}")), expected);
        assert_eq!(check(&text.replace(PLAIN, ENCRYPTED)), expected);
    }

    #[test]
    fn damage_is_named() {
        let text = file().encode();
        let check = |text: &str| parse(text).err();
        assert_eq!(check(""), Some(Malformed::Pem));
        assert_eq!(check(&text.replace(PLAIN, "EC PRIVATE KEY")), Some(Malformed::Kind));
        assert_eq!(check(&text.replace("dek: Ei", "dek: !!")), Some(Malformed::DataKey));
        assert_eq!(check(&text.replace("version: 0", "version: x")), Some(Malformed::LockVersion));
        for length in 0..text.len() - 26 {
            assert!(check(&text[..length]).is_some(), "cut after {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            key in prop::collection::vec(any::<u8>(), 0..300),
            data_key: Option<[u8; 32]>,
            lock_version: u64,
        ) {
            let data_key = data_key.map(DataKey);
            let file = KeyFile { key: key.into(), data_key, lock_version, other: BTreeMap::new() };
            let again = parse(&file.encode()).expect("written by us");
            prop_assert_eq!(again.key, file.key);
            prop_assert_eq!(again.data_key, file.data_key);
            prop_assert_eq!(again.lock_version, file.lock_version);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..300_usize, with: u8) {
            let _ = KeyFile::parse(&bytes);
            let mut damaged = file().encode().into_bytes();
            let at = at % damaged.len();
            damaged[at] = with;
            let _ = KeyFile::parse(&damaged);
        }
    }
}
