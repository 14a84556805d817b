//! The folder of a `dev` cluster: the one given, or a temporary one that is removed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Place;
use super::file::{DevState, NAME};
use crate::cli::exit::Failure;
use crate::cli::output;

const LOCK: &str = "dev.lock";

pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
    /// The `dev` before was killed itself; its nodes notice and stop, but may take a moment.
    orphans: bool,
    /// Held as long as the folder is in use.
    _lock: fs::File,
}

impl Folder {
    /// Opens or makes the folder and takes its lock. Refuses one of a cluster with other nodes or ports: the nodes have
    /// each other's addresses in their logs.
    pub(super) fn open(given: Option<&Path>, places: &[Place]) -> Result<Self, Failure> {
        let path = given.map_or_else(temporary, Path::to_owned);
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::failed(format!("cannot {what} {}: {error}; choose another folder by --data", path.display()))
        };
        fs::create_dir_all(&path).map_err(|error| failed("make the folder", &error))?;
        let path = path.canonicalize().map_err(|error| failed("open the folder", &error))?;
        let lock = fs::File::create(path.join(LOCK)).map_err(|error| failed("write into", &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Failure::failed(format!(
                "another `lastseat dev` runs on {}; stop it, or choose another folder by --data",
                path.display()
            ))
        })?;
        let mut folder = Self { path, temporary: given.is_none(), orphans: false, _lock: lock };
        match folder.check(places) {
            Ok(orphans) => folder.orphans = orphans,
            Err(failure) => {
                folder.close();
                return Err(failure);
            }
        }
        Ok(folder)
    }

    /// Nodes of a `dev` that was killed may still be on their way out.
    pub(super) fn may_have_orphans(&self) -> bool {
        self.orphans
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder if it is a temporary one.
    pub(super) fn close(self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            output::complain(&format!("cannot remove {}: {error}; remove it by hand", self.path.display()));
        }
    }

    /// Are these the nodes of this folder? Says whether any was left running by its last `dev`.
    fn check(&self, places: &[Place]) -> Result<bool, Failure> {
        if !self.path.join(NAME).exists() {
            return Ok(false);
        }
        let old = DevState::read(&self.path).map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}; choose another folder", self.path.join(NAME).display()))
        })?;
        let addresses = |state: &DevState| -> Vec<(u64, String)> {
            state.nodes.iter().map(|node| (node.id, node.peer.clone())).collect()
        };
        let before = addresses(&old);
        if before == addresses(&DevState::of(&self.path, places)) {
            return Ok(old.nodes.iter().any(|node| node.pid.is_some()));
        }
        let first = before.first().map_or("?", |(_, peer)| peer);
        Err(Failure::usage(format!(
            "{} has a cluster of {} nodes, the first with its peer port at {first}; start it with the same --nodes and \
             --port-base, or choose another folder by --data",
            self.path.display(),
            before.len(),
        )))
    }
}

fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("lastseat-dev-{}", crate::service::stamp::fresh_uuid().simple()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::file::DevFile;
    use super::*;

    fn places(base: u16, nodes: u16) -> Vec<Place> {
        (1..=nodes).map(|i| Place { id: u64::from(i), api_port: base + i, peer_port: base + 100 + i }).collect()
    }

    #[test]
    fn a_folder_is_used_by_one_dev_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(Some(dir.path()), &places(7400, 3)).unwrap();
        let error = Folder::open(Some(dir.path()), &places(7400, 3)).err().unwrap();
        assert!(error.text.contains("another `lastseat dev`"), "{}", error.text);
        first.close();
        assert!(dir.path().exists(), "a folder that was given is kept");
    }

    #[test]
    fn a_folder_resumes_only_with_the_same_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(Some(dir.path()), &places(7400, 3)).unwrap();
        DevFile::new(folder.path(), &places(7400, 3)).unwrap();
        folder.close();
        let again = Folder::open(Some(dir.path()), &places(7400, 3)).unwrap();
        assert!(!again.may_have_orphans());
        DevFile::new(again.path(), &places(7400, 3)).unwrap().set_pid(2, Some(7)).unwrap();
        again.close();
        let after_a_kill = Folder::open(Some(dir.path()), &places(7400, 3)).unwrap();
        assert!(after_a_kill.may_have_orphans());
        after_a_kill.close();
        for other in [places(7400, 5), places(8400, 3)] {
            let error = Folder::open(Some(dir.path()), &other).err().unwrap();
            assert!(error.text.contains("--port-base"), "{}", error.text);
        }
    }

    #[test]
    fn a_temporary_folder_is_removed() {
        let folder = Folder::open(None, &places(7400, 1)).unwrap();
        let path = folder.path().to_owned();
        assert!(path.exists());
        folder.close();
        assert!(!path.exists());
    }
}
