//! Names and labels (validation.md §2).

use crate::control::Error;

const NAME_BYTES_MAX: usize = 63;

/// Checks the name of a service or a network: what a DNS label allows, with single or repeated
/// hyphens and underscores between letters and digits.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::invalid("meta: name must be provided"));
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if !edge(bytes.first()) || !edge(bytes.last()) || !bytes.iter().copied().all(inner) {
        return Err(Error::invalid("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}
