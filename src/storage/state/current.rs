//! The file `CURRENT`: which sled folder is the live one, and whether it can be trusted at the next start.
//!
//! One small text file, replaced as a whole, so that the flip to another folder, the mark of a clean stop and the
//! kernel's boot id change together or not at all.

use std::fs;
use std::io;
use std::path::Path;

use super::StateError;
use super::format::newer_format;
use crate::storage::durable;

const FILE: &str = "CURRENT";
const TITLE: &str = "lastseat state";
const FORMAT: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// Number of the live sled folder.
    pub(crate) generation: u64,
    /// Boot id of the kernel under which the folder was last written. After a reboot it is another one, and what sled
    /// had not synced is gone. `None` where the kernel tells none: then only a clean stop is trusted.
    pub(crate) boot_id: Option<String>,
    /// The folder was closed and synced, and not written to since.
    pub(crate) clean: bool,
    /// Starts in a row that died while they opened the folder.
    pub(crate) unfinished_opens: u32,
}

impl Current {
    /// `None`: there is no such file, or it says nothing that can be used; the state is then rebuilt.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StateError> {
        match fs::read_to_string(folder.join(FILE)) {
            Ok(text) => Self::parse(&text),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Durable when it returns.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        durable::replace_file(&folder.join(FILE), self.text().as_bytes())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{TITLE} {FORMAT}\nlive sled-{}\nboot {}\nclean {}\nunfinished-opens {}\n",
            self.generation,
            self.boot_id.as_deref().unwrap_or("-"),
            if self.clean { "yes" } else { "no" },
            self.unfinished_opens
        );
        text.push_str(&format!("crc {:08x}\n", crc32c::crc32c(text.as_bytes())));
        text
    }

    fn parse(text: &str) -> Result<Option<Self>, StateError> {
        let Some((body, crc)) = text.trim_end_matches('\n').rsplit_once("\ncrc ") else { return Ok(None) };
        let body = format!("{body}\n");
        if u32::from_str_radix(crc, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
            return Ok(None);
        }
        let mut lines = body.lines();
        let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).map(str::trim_start);
        let Some(format) = field(TITLE).and_then(|f| f.parse().ok()) else { return Ok(None) };
        newer_format("the file CURRENT of the state", format, FORMAT)?;
        let fields = (field("live sled-"), field("boot "), field("clean "), field("unfinished-opens "));
        let (Some(live), Some(boot), Some(clean), Some(opens)) = fields else { return Ok(None) };
        let (Ok(generation), Ok(unfinished_opens)) = (live.parse(), opens.parse()) else { return Ok(None) };
        let boot_id = Some(boot).filter(|b| *b != "-").map(String::from);
        Ok(Some(Self { generation, boot_id, clean: clean == "yes", unfinished_opens }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/CURRENT-1");

    fn example() -> Current {
        Current { generation: 3, boot_id: Some("0b7f4f6e".into()), clean: true, unfinished_opens: 1 }
    }

    #[test]
    fn the_first_format_still_reads() {
        assert_eq!(Current::parse(GOLDEN).unwrap(), Some(example()));
        assert_eq!(example().text(), GOLDEN);
    }

    #[test]
    fn a_kernel_without_a_boot_id_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let current = Current { boot_id: None, ..example() };
        current.write(dir.path()).unwrap();
        assert_eq!(Current::read(dir.path()).unwrap(), Some(current));
    }

    #[test]
    fn any_flipped_bit_makes_it_say_nothing() {
        for at in 0..GOLDEN.len() - 1 {
            for bit in 0..7 {
                let mut bytes = GOLDEN.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                if text.to_lowercase() != GOLDEN.to_lowercase() {
                    assert_eq!(Current::parse(&text).unwrap(), None, "byte {at} bit {bit}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let body = GOLDEN.replace("state 1", "state 2");
        let (body, _) = body.split_once("crc ").unwrap();
        let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        assert!(matches!(Current::parse(&text), Err(StateError::NewerFormat(_))));
    }
}
