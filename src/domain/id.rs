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
/// Most digits of an index in an independent batch.
const INDEX_DIGITS_MAX: usize = 5;
/// Longest key of a command in an independent batch, `{batch key}:{index}`, in characters.
pub const DERIVED_KEY_CHARS_MAX: usize = ID_CHARS_MAX + 1 + INDEX_DIGITS_MAX;

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

fn check(text: &str, chars_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if !text.bytes().all(|byte| ALLOWED[usize::from(byte)]) {
        let allowed = |c: &char| u8::try_from(*c).is_ok_and(|byte| ALLOWED[usize::from(byte)]);
        let bad = text.chars().find(|c| !allowed(c)).unwrap_or(char::REPLACEMENT_CHARACTER);
        return Err(IdError::BadCharacter(bad));
    }
    if text.len() > chars_max {
        return Err(IdError::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        id_type! { $(#[$doc])* $name, stored up to ID_CHARS_MAX }
    };
    ($(#[$doc:meta])* $name:ident, stored up to $chars_max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// Takes a text as a name, or says what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, ID_CHARS_MAX)?;
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
                Ok(Self(deserializer.deserialize_bytes(Unpack { chars_max: $chars_max })?))
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
    /// A receiver of changes, named by who set it up.
    WebhookId
}
id_type! {
    /// The client-made name of one intent: its idempotency key, unique in the cluster.
    Key, stored up to DERIVED_KEY_CHARS_MAX
}

impl Key {
    /// A key to ask for: one that a client may give, or one that a command of an independent batch has from its batch.
    pub fn parse_asked(text: &str) -> Result<Self, IdError> {
        Self::parse(text).or_else(|error| match Self::split_derived(text) {
            Some((batch, _)) if Self::parse(batch).is_ok() => Ok(Self(CompactString::new(text))),
            Some(_) | None => Err(error),
        })
    }

    /// The key of an independent batch and the index of a command in it, if `text` is `{batch key}:{index}`.
    pub fn split_derived(text: &str) -> Option<(&str, u32)> {
        let (batch, index) = text.rsplit_once(':')?;
        let plain = index.len() <= INDEX_DIGITS_MAX && (index == "0" || !index.starts_with('0'));
        let digits = plain && index.bytes().all(|byte| byte.is_ascii_digit());
        // An empty index is no number.
        digits.then(|| index.parse().ok()).flatten().map(|index| (batch, index))
    }
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

struct Unpack {
    chars_max: usize,
}

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
        check(text, self.chars_max).map_err(E::custom)?;
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
    fn a_derived_key_can_be_asked_for_and_stored_however_long_its_batch_key_is() {
        let batch = "n".repeat(128);
        for asked in ["a", "a:b", "a:01", &format!("{batch}:0"), &format!("{batch}:9999")] {
            let key = Key::parse_asked(asked).expect("a key to ask for");
            assert_eq!(key.as_str(), asked);
            assert_eq!(codec::decode::<Key>(&codec::encode(&key)), Ok(key));
        }
        for (asked, length) in [(format!("{batch}n:0"), 131), (format!("{batch}:01"), 131), (format!("{batch}:"), 129)]
        {
            assert_eq!(Key::parse_asked(&asked), Err(IdError::TooLong(length)), "{asked}");
        }
        assert_eq!(Key::parse_asked("a/b:1"), Err(IdError::BadCharacter('/')));
        assert_eq!(Key::parse(&format!("{batch}:0")), Err(IdError::TooLong(130)));
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
