//! Ids: 25 characters of base 36, kept inline; any other text is kept as it is, on the heap.
//!
//! Ids order and compare as text, whatever their form.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use num_bigint::BigUint;
use rand::RngCore;

/// How many characters a random id has.
pub const ID_CHARS: usize = 25;

/// How many random bytes go into an id. Its first character is not evenly distributed and is
/// dropped.
const RANDOM_BYTES: usize = 17;

/// Any id.
#[derive(Clone)]
pub struct Id(Form);

#[derive(Clone)]
enum Form {
    /// No text.
    Empty,
    /// Exactly [`ID_CHARS`] bytes of ASCII.
    Inline([u8; ID_CHARS]),
    /// Everything else: `<secret>.<task>`, `FIPS.…`.
    Foreign(Arc<str>),
}

impl Id {
    /// A new id (store-and-raft §6): a number of 17 random bytes with the top bit set, in base 36,
    /// without its first digit.
    pub fn random(random: &mut impl RngCore) -> Self {
        let mut bytes = [0; RANDOM_BYTES];
        random.fill_bytes(&mut bytes);
        bytes[0] |= 0x80;
        let digits = BigUint::from_bytes_be(&bytes).to_str_radix(36);
        Self::from(&digits[1..=ID_CHARS])
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Empty => "",
            Form::Inline(bytes) => std::str::from_utf8(bytes).expect("only ASCII is kept inline"),
            Form::Foreign(text) => text,
        }
    }

    /// Whether this is the id of nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Form::Empty)
    }
}

/// An id as numbers that order as its bytes do: comparing them calls nothing.
fn words(bytes: &[u8; ID_CHARS]) -> (u64, u64, u64, u8) {
    let (words, rest) = bytes.as_chunks::<8>();
    let word = |at: usize| u64::from_be_bytes(words[at]);
    (word(0), word(1), word(2), rest[0])
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        match <[u8; ID_CHARS]>::try_from(text.as_bytes()) {
            Ok(bytes) if text.is_ascii() => Self(Form::Inline(bytes)),
            Err(_) if text.is_empty() => Self(Form::Empty),
            Ok(_) | Err(_) => Self(Form::Foreign(text.into())),
        }
    }
}

impl Default for Id {
    fn default() -> Self {
        Self(Form::Empty)
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Empty, Form::Empty) => true,
            (Form::Inline(left), Form::Inline(right)) => left == right,
            (Form::Foreign(left), Form::Foreign(right)) => left == right,
            (Form::Empty | Form::Inline(_) | Form::Foreign(_), _) => false,
        }
    }
}

impl Eq for Id {}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Inline(left), Form::Inline(right)) => words(left).cmp(&words(right)),
            (Form::Empty, Form::Empty) => Ordering::Equal,
            (Form::Empty, _) => Ordering::Less,
            (_, Form::Empty) => Ordering::Greater,
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Id);

        impl $name {
            /// A new id.
            pub fn random(random: &mut impl RngCore) -> Self {
                Self(Id::random(random))
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Whether this is the id of nothing.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// The id without the kind that it belongs to.
            pub fn as_id(&self) -> &Id {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Id::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Id::from(text.as_str()))
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id)
            }
        }

        impl From<&$name> for String {
            fn from(id: &$name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }
    )*};
}

ids! {
    /// A cluster; the organisation in its certificates.
    ClusterId
    /// A config.
    ConfigId
    /// An extension.
    ExtensionId
    /// A network.
    NetworkId
    /// A node; the common name in its certificate.
    NodeId
    /// A resource.
    ResourceId
    /// A secret.
    SecretId
    /// A service.
    ServiceId
    /// A session of an agent with the leader.
    SessionId
    /// A task.
    TaskId
    /// A volume.
    VolumeId
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn random_ids_are_25_digits_of_base_36() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..1000 {
            let id = NodeId::random(&mut random);
            assert_eq!(id.as_str().len(), ID_CHARS);
            let digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
            assert!(id.as_str().bytes().all(digit), "{id}");
        }
        assert_ne!(NodeId::random(&mut random), NodeId::random(&mut random));
    }

    #[test]
    fn the_empty_id_is_the_default() {
        assert!(TaskId::default().is_empty());
        assert!(!TaskId::from("x").is_empty());
    }

    proptest! {
        #[test]
        fn ids_behave_as_their_text(left in ".{0,30}|[a-z0-9]{25}", right in ".{0,30}|[a-z0-9]{25}") {
            let (left_id, right_id) = (Id::from(left.as_str()), Id::from(right.as_str()));
            prop_assert_eq!(left_id.as_str(), &left);
            prop_assert_eq!(left_id.cmp(&right_id), left.cmp(&right));
            prop_assert_eq!(left_id == right_id, left == right);
        }

        #[test]
        fn the_first_difference_counts_wherever_it_is(
            text in "[a-z0-9]{25}", at in 0..ID_CHARS, other in "[a-z0-9]",
        ) {
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other);
            let (id, changed_id) = (Id::from(text.as_str()), Id::from(changed.as_str()));
            prop_assert_eq!(id.cmp(&changed_id), text.cmp(&changed));
        }
    }
}
