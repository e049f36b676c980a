//! Why a write is refused; the texts are known to clients (store-and-raft §3).

/// Why a write is refused. Nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id is taken.
    #[error("object already exists")]
    Exists,
    /// Nothing has the id.
    #[error("object does not exist")]
    NotExist,
    /// The name is taken.
    #[error("name conflicts with an existing object")]
    NameConflict,
    /// The object was written since it was read.
    #[error("update out of sequence")]
    OutOfSequence,
    /// No extension registers this kind of resource.
    #[error("object kind is unregistered")]
    KindUnregistered,
    /// Extensions never change.
    #[error("extensions are immutable")]
    Immutable,
    /// Resources of this kind are left.
    #[error("cannot delete extension because objects of this type exist in the data store")]
    KindInUse,
}
