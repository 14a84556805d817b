//! A list that is counted to its end but kept only up to its limit: a body of the allowed size must not become
//! hundreds of times its size in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// At most `MAX` elements, and how many there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capped<T, const MAX: usize> {
    pub kept: Vec<T>,
    pub total: usize,
}

impl<T, const MAX: usize> Default for Capped<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), total: 0 }
    }
}

struct Counted<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Counted<T, MAX> {
    type Value = Capped<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Capped::default();
        while list.kept.len() < MAX {
            match seq.next_element()? {
                Some(element) => list.kept.push(element),
                None => break,
            }
        }
        list.total = list.kept.len();
        while list.total >= MAX && seq.next_element::<IgnoredAny>()?.is_some() {
            list.total += 1;
        }
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Capped<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Counted(PhantomData))
    }
}
