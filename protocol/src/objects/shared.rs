//! What most objects do not have or have in common, in the room of one pointer.

use std::{fmt, ops::Deref, sync::Arc};

use crate::id::NodeId;

/// A list that never changes, and is mostly empty.
pub struct List<T>(Option<Arc<Vec<T>>>);

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| list)
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }
}

impl<T: Clone> From<&[T]> for List<T> {
    fn from(list: &[T]) -> Self {
        list.to_vec().into()
    }
}

impl<T, const N: usize> From<[T; N]> for List<T> {
    fn from(list: [T; N]) -> Self {
        Vec::from(list).into()
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        Vec::from_iter(list).into()
    }
}

/// The id of a node that many objects name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedNodeId(Option<Arc<NodeId>>);

impl SharedNodeId {
    /// The text of the id; empty if it is nobody's.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |id| id.as_str())
    }
}

impl From<NodeId> for SharedNodeId {
    fn from(id: NodeId) -> Self {
        Self((!id.is_empty()).then(|| Arc::new(id)))
    }
}

impl From<&str> for SharedNodeId {
    fn from(id: &str) -> Self {
        NodeId::from(id).into()
    }
}
