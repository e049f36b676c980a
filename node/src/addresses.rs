//! Where a node listens, in a file for whoever started it: behind port 0 only the system knows.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::replacing::{FOR_ALL, replace};

/// The file, in the state directory.
pub const FILE: &str = "addresses.json";

/// Where a node listens, as far as it listens at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For other nodes.
    pub remote_api: Option<SocketAddr>,
    /// For its operator.
    pub control_api: Option<PathBuf>,
    /// For Prometheus.
    pub metrics: Option<SocketAddr>,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the file of addresses {} cannot be written", .path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

impl Addresses {
    /// Writes the file. Whoever reads meanwhile finds the old one, or the new one, and both whole.
    ///
    /// Nothing is synced: after a power cut nobody listens any more.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let written = replace(folder, FILE, self.text().as_bytes(), FOR_ALL);
        written.map_err(|source| Error { path: folder.join(FILE), source })
    }

    /// Removes what an earlier daemon has written, so that nobody takes it for the next one's.
    pub fn clear(folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(|source| Error { path, source }),
        }
    }

    /// Where the daemon of a state directory listens for other nodes, or did when it ended.
    pub fn remote_api_of(folder: &Path) -> Option<SocketAddr> {
        let text = fs::read(folder.join(FILE)).ok()?;
        let object: Value = serde_json::from_slice(&text).ok()?;
        object.get("remote_api")?.as_str()?.parse().ok()
    }

    /// An object with a key for each address; null where nothing listens.
    fn text(&self) -> String {
        let Self { remote_api, control_api, metrics } = self;
        let object = json!({
            "remote_api": remote_api,
            "control_api": control_api.as_deref().map(Path::to_string_lossy),
            "metrics": metrics,
        });
        format!("{object:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(folder: &Path) -> Option<Value> {
        let bytes = fs::read(folder.join(FILE)).ok()?;
        Some(serde_json::from_slice(&bytes).expect("it is JSON"))
    }

    #[test]
    fn every_address_has_its_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addresses = Addresses {
            control_api: Some(PathBuf::from("/run/a.sock")),
            metrics: Some("127.0.0.1:9100".parse().expect("an address")),
            ..Addresses::default()
        };
        addresses.write(folder.path()).expect("written");
        let expected = json!({
            "remote_api": null,
            "control_api": "/run/a.sock",
            "metrics": "127.0.0.1:9100",
        });
        assert_eq!(read(folder.path()), Some(expected));
        let remote_api = Some("[::1]:4242".parse().expect("an address"));
        Addresses { remote_api, ..Addresses::default() }.write(folder.path()).expect("written");
        let expected = json!({ "remote_api": "[::1]:4242", "control_api": null, "metrics": null });
        assert_eq!(read(folder.path()), Some(expected), "it is replaced");
        assert_eq!(Addresses::remote_api_of(folder.path()), remote_api);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
        assert_eq!(left.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_makes_no_sense_names_no_address() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for text in
            ["", "{", "[]", "{}", r#"{"remote_api": 7}"#, r#"{"remote_api": "here"}"#, "\u{0}"]
        {
            fs::write(folder.path().join(FILE), text).expect("written");
            assert_eq!(Addresses::remote_api_of(folder.path()), None, "{text}");
        }
    }

    #[test]
    fn everybody_may_read_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Addresses::default().write(folder.path()).expect("written");
        let mode =
            fs::metadata(folder.path().join(FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn what_an_earlier_daemon_wrote_is_gone_when_the_next_begins() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Addresses::clear(folder.path()).expect("nothing is there");
        Addresses::default().write(folder.path()).expect("written");
        Addresses::clear(folder.path()).expect("removed");
        assert_eq!(read(folder.path()), None);
        assert_eq!(Addresses::remote_api_of(folder.path()), None);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let gone = folder.path().join("gone");
        let error = Addresses::default().write(&gone).expect_err("there is no folder");
        let path = gone.join(FILE);
        let expected = format!("the file of addresses {} cannot be written", path.display());
        assert_eq!(error.to_string(), expected);
    }
}
