//! The frame around one sealed record: its length and its checksum.

use crate::log::Cipher;

/// Bytes of a frame before the sealed record: length and checksum.
pub(in crate::log) const FRAME_BYTES: usize = 8;

/// Why the bytes at some place are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) enum Unreadable {
    /// Torn, damaged, or never written.
    Broken,
    /// Whole, but sealed with another key.
    Sealed,
}

/// Appends a frame with the sealed form of `plain`. `sequence` is the place of the frame.
pub(in crate::log) fn write(cipher: &dyn Cipher, sequence: u64, plain: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    cipher.seal(sequence, plain, out);
    let sealed = out.len() - start - FRAME_BYTES;
    let length = u32::try_from(sealed).expect("a record is shorter than 4 GiB").to_le_bytes();
    let checksum = checksum(length, &out[start + FRAME_BYTES..]).to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + FRAME_BYTES].copy_from_slice(&checksum);
}

/// Returns the number of bytes the frame that begins here would have, its head included.
pub(in crate::log) fn length(head: [u8; FRAME_BYTES]) -> u64 {
    let [a, b, c, d, ..] = head;
    FRAME_BYTES as u64 + u64::from(u32::from_le_bytes([a, b, c, d]))
}

/// Returns the sealed record at the beginning of `bytes`, or nothing when it is not whole.
pub(in crate::log) fn check(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let sealed = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    // An empty record is never written: zeros are what was not written at all.
    let whole = !sealed.is_empty() && checksum(*length, sealed) == u32::from_le_bytes(*expected);
    whole.then_some(sealed)
}

/// Returns the plain record at the beginning of `bytes` and the length of its frame.
pub(in crate::log) fn read(
    cipher: &dyn Cipher,
    sequence: u64,
    bytes: &[u8],
) -> Result<(Vec<u8>, usize), Unreadable> {
    let sealed = check(bytes).ok_or(Unreadable::Broken)?;
    let plain = cipher.open(sequence, sealed).ok_or(Unreadable::Sealed)?;
    Ok((plain, FRAME_BYTES + sealed.len()))
}

fn checksum(length: [u8; 4], sealed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), sealed)
}
