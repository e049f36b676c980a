//! Files that are replaced: whoever reads meanwhile finds the old one or the new one, each whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The mode of a file that everybody may read.
pub(crate) const FOR_ALL: u32 = 0o644;
/// The mode of a file that is for the node's owner alone.
pub(crate) const FOR_OWNER: u32 = 0o600;

/// Replaces a file of a folder. Nothing is synced: a power cut may bring the old one back.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (beside, _) = write_beside(folder, name, bytes, mode)?;
    fs::rename(beside, folder.join(name))
}

/// Replaces a file of a folder. When this returns, a power cut does not bring the old one back.
pub(crate) fn replace_durably(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> io::Result<()> {
    let (beside, file) = write_beside(folder, name, bytes, mode)?;
    file.sync_all()?;
    fs::rename(beside, folder.join(name))?;
    sync_folder(folder)
}

/// Makes durable what was created, renamed or removed in a folder.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn write_beside(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<(PathBuf, File)> {
    let beside = folder.join(format!(".new-{name}"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    // The mode given at creation is narrowed by the umask and ignored for a leftover.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    Ok((beside, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_beside_it_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        for (mode, write) in [
            (FOR_ALL, replace as fn(&Path, &str, &[u8], u32) -> io::Result<()>),
            (FOR_OWNER, replace_durably),
        ] {
            let leftover = folder.join(".new-file");
            fs::write(&leftover, "longer than what comes").expect("written");
            fs::set_permissions(&leftover, Permissions::from_mode(0o640)).expect("set");
            write(folder, "file", b"new", mode).expect("replaced");
            let file = folder.join("file");
            assert_eq!(fs::read(&file).expect("it is there"), b"new");
            let found = fs::metadata(&file).expect("it is there").permissions().mode();
            assert_eq!(found & 0o777, mode);
            assert!(!leftover.exists());
        }
    }
}
