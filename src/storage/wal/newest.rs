//! The number of the newest segment, kept beside the log's folder: what tells a lost log from a new one.
//!
//! ```text
//! data/wal/          the log          data/wal.newest   [magic 8][version u16][0 u16][sequence u32][crc32c u32]
//! ```
//! Replaced as a whole, durably, after a segment has its name and before anything in it is acknowledged. So the log's
//! newest segment may be one ahead of it after a crash, and never behind. Magic and version, and the checksum at the
//! end, stay where they are in every version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::WalError;
use crate::storage::durable;

const MAGIC: [u8; 8] = *b"lastsNEW";
const VERSION: u16 = 1;
const BYTES: usize = 20;

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.with_extension("newest")
}

pub(super) fn encode(sequence: u32) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c(&out[..16]);
    out[16..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// `path`: the file that `bytes` are of, for the refusal.
pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<u32, WalError> {
    let broken = |why: &str| super::corrupt(path, 0, why);
    let Some((body, crc)) = bytes.split_last_chunk::<4>().filter(|(body, _)| body.len() >= 10 && body[..8] == MAGIC)
    else {
        return Err(broken("this is not the number of the newest segment"));
    };
    if *crc != crc32c::crc32c(body).to_le_bytes() {
        return Err(broken("its checksum does not match"));
    }
    let version = u16::from_le_bytes([body[8], body[9]]);
    if version != VERSION {
        return Err(super::newer(path, 0, &format!("format version {version}")));
    }
    let sequence = body.get(12..16).ok_or_else(|| broken("it is too short"))?;
    Ok(u32::from_le_bytes(sequence.try_into().expect("four bytes")))
}

/// Durable when this returns.
pub(super) fn write(dir: &Path, sequence: u32) -> io::Result<()> {
    let path = path(dir);
    let written = durable::replace_file(&path, &encode(sequence));
    written.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display())))
}

/// Refuses a log that lacks what it held: `found` is its newest segment, `kept` whether this log is known to have held
/// something before.
pub(super) fn check(dir: &Path, found: Option<u32>, kept: bool) -> Result<(), WalError> {
    let path = path(dir);
    let known = match fs::read(&path) {
        Ok(bytes) => Some(decode(&bytes, &path)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())).into()),
    };
    match (known, found) {
        (Some(known), Some(found)) if found >= known => Ok(()),
        (Some(known), found) => {
            let there =
                found.map_or("there is no segment".into(), |found| format!("the newest that is there is {found}"));
            Err(lost(dir, &format!("segment {known} was the newest, and {there}")))
        }
        (None, None) if kept => Err(lost(dir, &format!("there is no segment, and no {}", path.display()))),
        (None, Some(_)) if kept => Err(lost(dir, &format!("{} is not there", path.display()))),
        // New, or begun by a first start that a crash cut short.
        (None, _) => Ok(()),
    }
}

fn lost(dir: &Path, why: &str) -> WalError {
    WalError::Corrupt(format!("part of the write-ahead log in {} is missing: {why}. {}", dir.display(), super::REBUILD))
}
