//! The image that is none: it stands for the file system of the machine itself.

/// What it is called.
pub const HOST: &str = "host";

/// Whether a task runs a command of its machine, and no container. Docker's command line adds a tag to
/// every name; no name stands for the same.
pub fn is_host(image: &str) -> bool {
    matches!(image, "" | HOST | "host:latest")
}
