//! Folders of tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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

/// A quick folder with an empty one for a log in it, and room for what the log keeps beside that.
pub struct LogFolder {
    path: PathBuf,
    _around: tempfile::TempDir,
}

impl LogFolder {
    pub fn new() -> Self {
        let around = quick_folder();
        let path = around.path().join("wal");
        fs::create_dir(&path).unwrap();
        Self { path, _around: around }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a log keeps the number of its newest segment.
pub fn newest_of(log: &Path) -> PathBuf {
    log.with_extension("newest")
}

/// Copies a log as a crash would leave it now. The log may be open, as long as nobody appends.
pub fn copy_log(from: &Path) -> LogFolder {
    let to = LogFolder::new();
    if newest_of(from).exists() {
        fs::copy(newest_of(from), newest_of(to.path())).unwrap();
    }
    let Ok(items) = fs::read_dir(from) else { return to };
    for item in items {
        let path = item.unwrap().path();
        match fs::copy(&path, to.path().join(path.file_name().unwrap())) {
            // A spare in the making changes its name at any time.
            Err(e) if e.kind() == ErrorKind::NotFound && path.extension().is_some_and(|e| e != "wal") => {}
            copied => drop(copied.unwrap()),
        }
    }
    to
}
