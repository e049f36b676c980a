//! What went wrong, and how it is told: one line, and the usage where it helps (cli.md §1).

/// How a manager refuses a change to what an object was before.
const OVERTAKEN: &str = "update out of sequence";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A manager refused; its message says all.
    #[error("{}", told(.0))]
    Status(#[from] Box<tonic::Status>),
    /// No manager could be reached.
    #[error("{0}")]
    Connection(String),
    /// The command itself is wrong; the usage of the subcommand follows.
    #[error("{0}")]
    Usage(String),
    /// What was asked for did not come to pass.
    #[error("{0}")]
    Failed(String),
    /// What was found could not be written out.
    #[error("writing to standard output: {0}")]
    Output(#[from] std::io::Error),
}

/// What a manager says. One that does not know a call at all says nothing.
fn told(status: &tonic::Status) -> &str {
    match status.message() {
        "" if status.code() == tonic::Code::Unimplemented => {
            "this manager does not offer what was asked of it"
        }
        "" => status.code().description(),
        message => message,
    }
}

impl Error {
    /// A mistake in what was typed, also one that only a manager could tell, for instance a name
    /// that does not exist.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// What a manager says, where it may not know the call at all and so cannot name `what` it lacks.
    pub(crate) fn of_call(what: &str, status: tonic::Status) -> Self {
        if status.code() == tonic::Code::Unimplemented && status.message().is_empty() {
            return Self::Failed(format!("{what} are not offered by this version of swarmd"));
        }
        status.into()
    }

    /// Whether the object was changed by another in between: what was asked for may be done to what it is
    /// now.
    pub(crate) fn is_overtaken(&self) -> bool {
        match self {
            Self::Status(status) => status.message().ends_with(OVERTAKEN),
            Self::Connection(_) | Self::Usage(_) | Self::Failed(_) | Self::Output(_) => false,
        }
    }

    /// Writes the error to standard error, with the usage where it helps.
    pub(crate) fn print(&self, usage: impl FnOnce() -> String) {
        eprintln!("Error: {self}");
        if let Self::Usage(_) = self {
            eprintln!("{}", usage());
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<crate::value::Invalid> for Error {
    fn from(invalid: crate::value::Invalid) -> Self {
        Self::usage(invalid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn what_a_manager_does_not_know_is_named() {
        let check = |status: Status, expected: &str| {
            assert_eq!(Error::of_call("unlock keys", status).to_string(), expected);
        };
        check(Status::unimplemented(""), "unlock keys are not offered by this version of swarmd");
        check(Status::unimplemented("later"), "later");
        check(Status::unavailable("no leader"), "no leader");
    }
}
