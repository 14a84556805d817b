//! The one place that turns values into bytes and back, for disk, peers and compact records in memory.
//!
//! bincode 2, `standard()`: little-endian, variable-length integers, deterministic for the types used here. It is no
//! longer maintained (RUSTSEC-2025-0141); nothing outside this file names it, so that it can be replaced.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("cannot decode: {0}")]
    Decode(String),
    #[error("{0} bytes are left over after the value")]
    LeftOver(usize),
}

/// Largest value that is decoded, in bytes of claimed memory: a broken length must not exhaust the machine.
pub const DECODE_BYTES_MAX: usize = 64 << 20;

/// Appends the encoding of `value`.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard()).expect(
        "encoding to memory fails only for types that serde cannot describe, and a round-trip test covers each",
    );
}

/// The encoding of `value`.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

/// The value of exactly these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_prefix(bytes)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::LeftOver(left)),
    }
}

/// The value that `bytes` begin with, and how many bytes it took.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    let config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();
    bincode::serde::decode_from_slice(bytes, config).map_err(|e| CodecError::Decode(e.to_string()))
}

/// Appends an encoding of `key` whose byte order follows the order of its fields: numbers are big-endian (variable
/// length, still in order), strings and bytes begin with their length. No encoding is the beginning of another one of
/// the same type. Signed numbers are not in order.
pub fn encode_key_into<T: Serialize + ?Sized>(key: &T, out: &mut Vec<u8>) {
    let config = bincode::config::standard().with_big_endian();
    bincode::serde::encode_into_std_write(key, out, config).expect(
        "encoding to memory fails only for types that serde cannot describe, and a round-trip test covers each",
    );
}

/// The key of exactly these bytes, as [`encode_key_into`] wrote them.
pub fn decode_key<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_big_endian().with_limit::<DECODE_BYTES_MAX>();
    let (key, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|e| CodecError::Decode(e.to_string()))?;
    match bytes.len() - used {
        0 => Ok(key),
        left => Err(CodecError::LeftOver(left)),
    }
}
