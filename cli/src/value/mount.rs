//! What is mounted into a task: directories of the host, volumes, memory, named pipes.

use protocol::wire::{
    Mount,
    mount::{TmpfsOptions, Type},
};

use super::Invalid;

/// Permission bits of a file system in memory, unless they are given.
const TMPFS_MODE: u32 = 0o1777;

/// Reads a directory of the host, `source:target`.
pub(crate) fn bind(text: &str) -> Result<Mount, Invalid> {
    pair(Type::Bind, "bind", text)
}

/// Reads a named pipe of the host, `source:target`.
pub(crate) fn npipe(text: &str) -> Result<Mount, Invalid> {
    pair(Type::Npipe, "npipe", text)
}

fn pair(kind: Type, name: &str, text: &str) -> Result<Mount, Invalid> {
    match text.split_once(':') {
        Some((source, target)) if !source.is_empty() && !target.is_empty() => Ok(Mount {
            r#type: kind.into(),
            source: source.to_owned(),
            target: target.to_owned(),
            ..Mount::default()
        }),
        Some(_) | None => Err(Invalid::new(format!("{name} format \"{text}\" not supported"))),
    }
}

/// Reads a volume without a name, which goes with its task.
pub(crate) fn volume(text: &str) -> Result<Mount, Invalid> {
    if text.is_empty() || text.contains(':') {
        return Err(Invalid::new(format!("volume format \"{text}\" not supported")));
    }
    Ok(Mount { r#type: Type::Volume.into(), target: text.to_owned(), ..Mount::default() })
}

/// Reads a file system in memory, `/path[:options]`.
pub(crate) fn tmpfs(text: &str) -> Result<Mount, Invalid> {
    let invalid = || Invalid::new(format!("invalid mount spec: {text}"));
    let (target, flags) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') || flags.contains(':') {
        return Err(invalid());
    }
    let mut mount =
        Mount { r#type: Type::Tmpfs.into(), target: target.to_owned(), ..Mount::default() };
    let mut options = TmpfsOptions { mode: TMPFS_MODE, ..TmpfsOptions::default() };
    let mut kept = Vec::new();
    for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
        match flag.split_once('=') {
            None if flag == "ro" => mount.readonly = true,
            None if flag == "rw" => mount.readonly = false,
            None if ["exec", "noexec"].contains(&flag) => kept.push(flag),
            Some(("size", size)) => options.size_bytes = tmpfs_bytes(size)?,
            Some(("mode", mode)) => {
                let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
                options.mode = bits.ok_or_else(invalid)?;
            }
            Some(_) | None => return Err(Invalid::new(format!("unsupported flag {flag}"))),
        }
    }
    options.options = kept.join(",");
    mount.tmpfs_options = Some(options);
    Ok(mount)
}

fn tmpfs_bytes(text: &str) -> Result<i64, Invalid> {
    let invalid = || Invalid::new(format!("invalid size format: {text}"));
    let (digits, unit) = match text.char_indices().next_back() {
        Some((last, unit)) if !unit.is_ascii_digit() => (&text[..last], unit),
        Some(_) | None => (text, 'b'),
    };
    let shift = match unit {
        'b' if digits == text => 0,
        'k' => 10,
        'm' => 20,
        'g' => 30,
        _ => return Err(invalid()),
    };
    let bytes: i64 = digits.parse().map_err(|_| invalid())?;
    bytes.checked_mul(1 << shift).filter(|bytes| *bytes >= 0).ok_or_else(invalid)
}
