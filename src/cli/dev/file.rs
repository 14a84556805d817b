//! `DIR/dev.json`, which always tells the truth about the nodes, and the small file that says where DIR is.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::cli::exit::Failure;

pub(in crate::cli) const NAME: &str = "dev.json";

/// What `dev.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct DevState {
    pub(in crate::cli) nodes: Vec<DevNode>,
}

/// One node; `pid` is null while its process is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct DevNode {
    pub(in crate::cli) id: u64,
    pub(in crate::cli) pid: Option<u32>,
    pub(in crate::cli) api: String,
    pub(in crate::cli) peer: String,
    pub(in crate::cli) data: String,
}

/// Everything of node `id`.
pub(super) fn node_folder(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("node-{id}"))
}

/// What the node itself writes; its log lies beside, so that an empty folder is an empty folder.
pub(super) fn node_data(folder: &Path, id: u64) -> PathBuf {
    node_folder(folder, id).join("data")
}

pub(super) fn node_log(folder: &Path, id: u64) -> PathBuf {
    node_folder(folder, id).join("node.log")
}

impl DevState {
    pub(in crate::cli) fn read(folder: &Path) -> io::Result<Self> {
        let text = fs::read(folder.join(NAME))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    pub(super) fn of(folder: &Path, places: &[Place]) -> Self {
        let node = |place: &Place| DevNode {
            id: place.id,
            pid: None,
            api: place.api(),
            peer: place.peer(),
            data: node_data(folder, place.id).display().to_string(),
        };
        Self { nodes: places.iter().map(node).collect() }
    }
}

/// The file, shared by the keepers of the nodes. What is written is in the order of what happened.
#[derive(Clone)]
pub(super) struct DevFile {
    path: Arc<Path>,
    state: Arc<Mutex<DevState>>,
}

impl DevFile {
    /// Writes it with every node down.
    pub(super) fn new(folder: &Path, places: &[Place]) -> Result<Self, Failure> {
        let state = Arc::new(Mutex::new(DevState::of(folder, places)));
        let file = Self { path: folder.join(NAME).into(), state };
        file.change(|_| {})?;
        Ok(file)
    }

    /// Node `id` runs as `pid`, or is down.
    pub(super) fn set_pid(&self, id: u64, pid: Option<u32>) -> Result<(), Failure> {
        self.change(|state| {
            for node in state.nodes.iter_mut().filter(|node| node.id == id) {
                node.pid = pid;
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut DevState)) -> Result<(), Failure> {
        let mut state = self.state.lock();
        change(&mut state);
        let text = serde_json::to_string_pretty(&*state).expect("plain values always serialize");
        replace(&self.path, &format!("{text}\n")).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}; check the disk and the folder", self.path.display()))
        })
    }
}

/// Readers see the old file or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", crate::service::stamp::fresh_uuid().simple()));
    let draft = path.with_file_name(name);
    let written = fs::File::create_new(&draft).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&draft, path)).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

/// Tells `rush` where the folder of the running cluster is: a file of a known name in the user's run-time folder.
pub(super) struct Locator {
    path: PathBuf,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Located {
    data: PathBuf,
}

fn locator_folder() -> PathBuf {
    let run_time = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    run_time.unwrap_or_else(std::env::temp_dir)
}

fn locator_name(port_base: u16) -> String {
    format!("lastseat-dev-{port_base}.json")
}

impl Locator {
    /// Only a help: without it, `rush` needs `--dev DIR`.
    pub(super) fn publish(port_base: u16, folder: &Path) -> Self {
        let path = locator_folder().join(locator_name(port_base));
        let located = Located { data: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()) };
        let text = serde_json::to_string(&located).expect("plain values always serialize");
        let _ = replace(&path, &text);
        Self { path, text }
    }
}

impl Drop for Locator {
    fn drop(&mut self) {
        // A cluster started since, on the same ports, has put its own there.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The folder of the running `dev` cluster that has a node at one of these URLs.
pub(in crate::cli) fn locate(urls: &[String]) -> Option<PathBuf> {
    let found = fs::read_dir(locator_folder()).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let named = found.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("lastseat-dev-") && name.ends_with(".json")
    });
    named.filter(|path| is_ours(path)).find_map(|path| {
        let located: Located = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let state = DevState::read(&located.data).ok()?;
        let hit = state.nodes.iter().any(|node| urls.iter().any(|url| url.trim_end_matches('/') == node.api));
        hit.then_some(located.data)
    })
}

/// The temporary folder belongs to everyone: only a file of this user says which processes to kill.
fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.uid() == rustix::process::getuid().as_raw())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places() -> Vec<Place> {
        vec![Place { id: 1, api_port: 7401, peer_port: 7501 }, Place { id: 2, api_port: 7402, peer_port: 7502 }]
    }

    #[test]
    fn dev_json_has_the_documented_shape_and_follows_the_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let file = DevFile::new(folder.path(), &places()).unwrap();
        file.set_pid(1, Some(123)).unwrap();
        let read =
            || serde_json::from_slice::<serde_json::Value>(&fs::read(folder.path().join(NAME)).unwrap()).unwrap();
        let data = |id: u64| node_data(folder.path(), id).display().to_string();
        let expected = json!({"nodes": [
            {"id": 1, "pid": 123, "api": "http://127.0.0.1:7401", "peer": "127.0.0.1:7501", "data": data(1)},
            {"id": 2, "pid": null, "api": "http://127.0.0.1:7402", "peer": "127.0.0.1:7502", "data": data(2)},
        ]});
        assert_eq!(read(), expected);
        file.set_pid(1, None).unwrap();
        assert_eq!(read()["nodes"][0]["pid"], json!(null));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn state_reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = DevFile::new(folder.path(), &places()).unwrap();
        file.set_pid(2, Some(7)).unwrap();
        let state = DevState::read(folder.path()).unwrap();
        assert_eq!(state.nodes[1].pid, Some(7));
        assert_eq!(state.nodes[0].pid, None);
    }
}
