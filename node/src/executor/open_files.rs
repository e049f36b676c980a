//! How many files the daemon may have open: it holds one for every task.

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};

use crate::shim::Ulimit;

/// The name of the limit, as in a spec.
pub(super) const NAME: &str = "nofile";

/// Lets this process open as many files as it may, and returns what tasks get instead: the limit
/// that the daemon was started with, because programs take a high one for a promise.
pub fn raise() -> Result<Ulimit, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(Ulimit { name: NAME.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_what_it_was_is_returned() {
        let before = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let given = raise().unwrap();
        assert_eq!((given.soft, given.hard), before);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (before.1, before.1));
    }
}
