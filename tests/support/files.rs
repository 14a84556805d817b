//! Folders of tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// Copies a folder with all that is in it. One that is not there is copied as an empty one: a crash may come before a
/// child made it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(items) = fs::read_dir(from) else { return };
    for item in items {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_folder(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// A temporary folder in memory where there is one: for tests that flush often and do not ask what a flush costs.
pub fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
