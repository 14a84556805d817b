//! Who this data folder belongs to.
//!
//! ```text
//! data/node.json   {"format":1,"node_id":2,"incarnation":"…","cluster_id":"…"}
//! data/lock        held with flock while a process uses the folder
//! ```
//!
//! The incarnation is made with the folder and is part of the membership, so that a wiped disk cannot come back under
//! its old node id. The file is replaced as a whole (temporary file, fsync, rename, fsync of the folder): it is never
//! half-written by us, and one that is not readable is refused rather than made anew, because a new incarnation under
//! a known node id could break a promise that the old one gave to its cluster.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::durable;

const FILE: &str = "node.json";
const LOCK: &str = "lock";
/// What a node keeps beside its identity. Where one of these is, a missing identity means a lost one.
const KEPT_BY_NODES: [&str; 3] = ["wal", "wal.newest", "state"];
/// Format of `node.json` that this build writes. Older ones stay readable.
const FORMAT: u32 = 1;

/// Made at a node's first start; the cluster is known once it was initialised or joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub node_id: u64,
    /// Made at random with the folder: a wiped folder under a known node id is another incarnation.
    pub incarnation: Uuid,
    pub cluster_id: Option<Uuid>,
}

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What stands in the file. Apart from [`Identity`] so that the stored form changes only on purpose.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    node_id: u64,
    incarnation: Uuid,
    cluster_id: Option<Uuid>,
}

/// Read first, so that a newer file is told apart from a broken one.
#[derive(Deserialize)]
struct StoredFormat {
    format: u32,
}

impl Identity {
    /// Reads the folder's identity or makes one, and locks the folder against a second process. `incarnation` is used
    /// only when the folder is new.
    pub fn open(dir: &Path, node_id: u64, incarnation: Uuid) -> Result<(Self, FolderLock), IdentityError> {
        durable::make_folder(dir)?;
        let lock = FolderLock::take(dir)?;
        let identity = match Self::read(dir)? {
            Some(found) => found,
            None => Self::make(dir, node_id, incarnation)?,
        };
        if identity.node_id != node_id {
            return Err(IdentityError::Refused(format!(
                "{} belongs to node {}; start it with --node-id {} or use another --data",
                dir.display(),
                identity.node_id,
                identity.node_id
            )));
        }
        Ok((identity, lock))
    }

    /// Writes durably that this folder belongs to a cluster from now on. Refused when it belongs to another.
    ///
    /// To be called by a node that runs, and so has its log on disk: from now on a log that is not there is lost, not
    /// new. Before this a node has voted for nobody, and may lose it.
    pub fn adopt(&mut self, dir: &Path, cluster_id: Uuid) -> Result<(), IdentityError> {
        match self.cluster_id {
            Some(known) if known == cluster_id => return Ok(()),
            Some(known) => {
                return Err(IdentityError::Refused(format!(
                    "{} belongs to cluster {known} and cannot join cluster {cluster_id}; start this node with an \
                     empty --data folder and a new --node-id",
                    dir.display()
                )));
            }
            None => {}
        }
        let adopted = Self { cluster_id: Some(cluster_id), ..self.clone() };
        adopted.write(dir)?;
        *self = adopted;
        Ok(())
    }

    fn read(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(named(&path, e).into()),
        };
        let unreadable = |why: serde_json::Error| {
            IdentityError::Refused(format!(
                "{} cannot be read ({why}); restore it from a backup, or move {} away and add this machine to its \
                 cluster as a new node with a new --node-id",
                path.display(),
                dir.display()
            ))
        };
        let StoredFormat { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(IdentityError::Refused(format!(
                "{} has format {format} and this build knows only formats up to {FORMAT}; start the newer build that \
                 wrote it",
                path.display()
            )));
        }
        let stored: Stored = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let Stored { format: _, node_id, incarnation, cluster_id } = stored;
        Ok(Some(Self { node_id, incarnation, cluster_id }))
    }

    /// A folder without `node.json` is new only if no node has kept anything in it.
    fn make(dir: &Path, node_id: u64, incarnation: Uuid) -> Result<Self, IdentityError> {
        if let Some(kept) = KEPT_BY_NODES.iter().find(|name| dir.join(name).exists()) {
            return Err(IdentityError::Refused(format!(
                "{} has no {FILE} but holds `{kept}` of some node; use an empty folder for a new node, or restore \
                 {FILE} from a backup",
                dir.display()
            )));
        }
        let identity = Self { node_id, incarnation, cluster_id: None };
        identity.write(dir)?;
        Ok(identity)
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let Self { node_id, incarnation, cluster_id } = self.clone();
        let stored = Stored { format: FORMAT, node_id, incarnation, cluster_id };
        let mut text = serde_json::to_vec(&stored).expect("numbers and ids can be written as JSON");
        text.push(b'\n');
        let path = dir.join(FILE);
        durable::replace_file(&path, &text).map_err(|e| named(&path, e))
    }
}

/// Held while the process uses the folder. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    fn take(dir: &Path) -> Result<Self, IdentityError> {
        let path: PathBuf = dir.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| named(&path, e))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(IdentityError::Refused(format!(
                "{} is in use by another process; stop that node first, or use another --data",
                dir.display()
            ))),
            Err(e) => Err(named(&path, e.into()).into()),
        }
    }
}

/// An I/O error that names the file.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NODE: Uuid = Uuid::from_u128(1);
    const CLUSTER: Uuid = Uuid::from_u128(2);

    fn refusal<T: std::fmt::Debug>(result: Result<T, IdentityError>) -> String {
        match result {
            Err(IdentityError::Refused(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_folder_remembers_who_it_belongs_to() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let (mut first, lock) = Identity::open(&data, 2, NODE).unwrap();
        first.adopt(&data, CLUSTER).unwrap();
        first.adopt(&data, CLUSTER).unwrap();
        drop(lock);
        let (again, _lock) = Identity::open(&data, 2, Uuid::from_u128(9)).unwrap();
        assert_eq!(again, Identity { node_id: 2, incarnation: NODE, cluster_id: Some(CLUSTER) });
    }

    #[test]
    fn another_node_or_cluster_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let (mut identity, lock) = Identity::open(dir.path(), 2, NODE).unwrap();
        identity.adopt(dir.path(), CLUSTER).unwrap();
        assert!(refusal(identity.adopt(dir.path(), NODE)).contains("belongs to cluster"));
        assert_eq!(identity.cluster_id, Some(CLUSTER));
        drop(lock);
        assert!(
            refusal(Identity::open(dir.path(), 3, NODE)).contains("start it with --node-id 2 or use another --data")
        );
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let (_identity, lock) = Identity::open(dir.path(), 2, NODE).unwrap();
        assert!(refusal(Identity::open(dir.path(), 2, NODE)).contains("in use by another process"));
        drop(lock);
        Identity::open(dir.path(), 2, NODE).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Identity::open(dir.path(), 2, NODE).unwrap());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() - 2 {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(refusal(Identity::open(dir.path(), 2, NODE)).contains("cannot be read"));
            assert_eq!(fs::read(&path).unwrap(), &whole[..end]);
        }
        fs::write(&path, br#"{"format":2,"something":"else"}"#).unwrap();
        assert!(refusal(Identity::open(dir.path(), 2, NODE)).contains("newer build"));
    }

    #[test]
    fn a_folder_that_lost_its_identity_is_not_a_new_node() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("wal")).unwrap();
        assert!(refusal(Identity::open(dir.path(), 2, NODE)).contains("holds `wal` of some node"));
    }

    #[test]
    fn the_first_format_still_reads() {
        let dir = tempfile::tempdir().unwrap();
        let golden = include_bytes!("../../tests/golden/node-1.json");
        fs::write(dir.path().join(FILE), golden).unwrap();
        let (identity, _lock) = Identity::open(dir.path(), 2, NODE).unwrap();
        assert_eq!(identity.cluster_id, Some(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)));
        identity.write(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), golden);
    }
}
