//! Names given by people and programs: events, seats, pools, orders, customers, keys, tokens.
//!
//! Every name is 1 to 128 characters of `A-Z a-z 0-9 . _ - : ~` and space. Parsed once at the edge; inside, a name
//! is valid by construction. Each kind is a type of its own, so that an order never stands where a seat belongs.

use std::borrow::Borrow;
use std::fmt;

use compact_str::CompactString;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// Longest name, in characters.
pub const ID_CHARS_MAX: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("it is empty; give 1 to {ID_CHARS_MAX} characters")]
    Empty,
    #[error("it has {0} characters; at most {ID_CHARS_MAX} are allowed")]
    TooLong(usize),
    #[error("it has the character {0:?}; allowed are A-Z a-z 0-9 . _ - : ~ and space")]
    BadCharacter(char),
}

/// Which bytes a name may have. A table, because every name that is read back is checked.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        allowed[byte] = c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':' | b'~' | b' ');
        byte += 1;
    }
    allowed
};

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if !text.bytes().all(|byte| ALLOWED[usize::from(byte)]) {
        let allowed = |c: &char| u8::try_from(*c).is_ok_and(|byte| ALLOWED[usize::from(byte)]);
        let bad = text.chars().find(|c| !allowed(c)).unwrap_or(char::REPLACEMENT_CHARACTER);
        return Err(IdError::BadCharacter(bad));
    }
    if text.len() > ID_CHARS_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// Takes a text as a name, or says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(CompactString::new(text)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                pack(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self(deserializer.deserialize_bytes(Unpack)?))
            }
        }
    };
}

id_type! {
    /// The ticketed happening or product drop.
    EventId
}
id_type! {
    /// One named place of an event.
    SeatId
}
id_type! {
    /// Counted units of an event.
    PoolId
}
id_type! {
    /// The caller's name of a finished sale, unique within its event.
    OrderId
}
id_type! {
    /// Who a hold or an order is for.
    CustomerId
}
id_type! {
    /// The secret that owns a hold, unique everywhere.
    Token
}
id_type! {
    /// The client-made name of one intent: its idempotency key, unique in the cluster.
    Key
}

/// First byte of a name stored as the 16 bytes of a UUID. No name starts with it.
const UUID_MARK: u8 = 0;

/// Names are stored as bytes; a lower-case hyphenated UUID, the commonest name of all, as its 16 bytes.
fn pack<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(raw) = uuid_bytes(text) {
        let mut packed = [UUID_MARK; 17];
        packed[1..].copy_from_slice(&raw);
        return serializer.serialize_bytes(&packed);
    }
    serializer.serialize_bytes(text.as_bytes())
}

/// The bytes of `text` if it is exactly what [`uuid_text`] would write for them.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
        return None;
    }
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut raw = [0u8; 16];
    let mut at = 0;
    for slot in &mut raw {
        if bytes[at] == b'-' {
            at += 1;
        }
        *slot = (nibble(bytes[at])? << 4) | nibble(bytes[at + 1])?;
        at += 2;
    }
    Some(raw)
}

fn uuid_text(raw: &[u8; 16]) -> CompactString {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (no, byte) in raw.iter().enumerate() {
        if matches!(no, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    CompactString::new(std::str::from_utf8(&text).expect("digits and hyphens are UTF-8"))
}

struct Unpack;

impl Visitor<'_> for Unpack {
    type Value = CompactString;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a name")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<CompactString, E> {
        if let Some((&UUID_MARK, raw)) = bytes.split_first() {
            return match raw.try_into() {
                Ok(raw) => Ok(uuid_text(raw)),
                Err(_) => Err(E::custom(format!("a packed UUID of {} bytes", bytes.len()))),
            };
        }
        let text = std::str::from_utf8(bytes).map_err(E::custom)?;
        check(text).map_err(E::custom)?;
        Ok(CompactString::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::codec;

    #[test]
    fn every_name_comes_back_from_its_bytes_and_a_uuid_takes_17() {
        let uuid = "0190a3e2-7b4c-7d1e-8f00-00aabbccddee";
        for text in ["a", "A-1", "x y~z:._-", uuid, "0190A3E2-7b4c-7d1e-8f00-00aabbccddee", &"n".repeat(128)] {
            let key = Key::parse(text).expect("a name");
            assert_eq!(codec::decode::<Key>(&codec::encode(&key)), Ok(key));
        }
        assert_eq!(codec::encode(&Key::parse(uuid).expect("a name")).len(), 1 + 17);
    }

    #[test]
    fn what_is_no_name_is_refused_also_in_bytes() {
        assert_eq!(Key::parse(""), Err(IdError::Empty));
        assert_eq!(Key::parse("a\u{e9}b"), Err(IdError::BadCharacter('\u{e9}')));
        assert_eq!(Key::parse("a/b"), Err(IdError::BadCharacter('/')));
        assert_eq!(Key::parse(&"n".repeat(129)), Err(IdError::TooLong(129)));
        for bytes in [vec![3, b'a', b'/', b'b'], vec![0], vec![3, 0, 1, 2]] {
            assert!(codec::decode::<Key>(&bytes).is_err(), "{bytes:?}");
        }
    }
}
