//! What a store keeps in its folder, and how it is changed in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use seaworthy_ports::workspace_store::{Snapshot, Source, WorkspacePolicy, WorkspaceState};
use seaworthy_ports::{Digest, RunId, SnapshotId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::scan::Stamp;
use super::tree::Manifest;

/// Where a workspace began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    Empty,
    Directory(PathBuf),
    Snapshot(SnapshotId),
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Empty => Self::Empty,
            Source::Directory(path) => Self::Directory(path),
            Source::Snapshot(id) => Self::Snapshot(id),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Active,
    Paused,
    Aborted,
    CleanupPending,
    Cleaned,
}

impl From<&State> for WorkspaceState {
    fn from(state: &State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Paused => Self::Paused,
            State::Aborted => Self::Aborted,
            State::CleanupPending => Self::CleanupPending,
            State::Cleaned => Self::Cleaned,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Works {
    pub(super) run: RunId,
    pub(super) origin: Origin,
    pub(super) policy: WorkspacePolicy,
    pub(super) state: State,
    pub(super) started_at: Timestamp,
    /// Since when it waits or is aborted.
    pub(super) rests_since: Option<Timestamp>,
    pub(super) base: Option<SnapshotId>,
    /// What it began with.
    pub(super) first: Digest,
    /// The name of its directory.
    pub(super) directory: Option<String>,
    /// How many snapshots a store has refused that does not forget them.
    pub(super) refused: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) record: Snapshot,
    pub(super) pinned: bool,
    pub(super) order: u64,
}

/// All that is known, in one file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) workspaces: BTreeMap<WorkspaceId, Works>,
    pub(super) snapshots: BTreeMap<SnapshotId, Kept>,
    /// Counts snapshots and directories.
    pub(super) counter: u64,
}

impl Known {
    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn snapshots_of(&self, workspace: &WorkspaceId) -> Vec<&Kept> {
        let mut kept: Vec<&Kept> = self
            .snapshots
            .values()
            .filter(|kept| kept.record.workspace == *workspace)
            .collect();
        kept.sort_by_key(|kept| kept.order);
        kept
    }
}

/// What was read of each file of a directory.
pub(super) type Cache = BTreeMap<String, (Stamp, Digest)>;

/// The folder of a store.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn open(root: &Path) -> Self {
        for folder in ["known", "blobs", "manifests", "directories", "caches"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        Self(root.to_path_buf())
    }

    pub(super) fn lock(&self) -> File {
        File::create(self.0.join("lock")).unwrap()
    }

    /// The names of what was known, the newest at the end. There are two where somebody died.
    fn generations(&self) -> Vec<u64> {
        let names = self.names("known");
        let mut generations: Vec<u64> = names.iter().map(|name| name.parse().unwrap()).collect();
        generations.sort_unstable();
        generations
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.0.join("known").join(number.to_string())
    }

    pub(super) fn known(&self) -> Known {
        match self.generations().last() {
            Some(newest) => {
                let bytes = fs::read(self.generation(*newest)).unwrap();
                serde_json::from_slice(&bytes).unwrap()
            }
            None => Known::default(),
        }
    }

    /// In one step, whoever dies. Under a new name, because some systems write a file to the disk that takes another's.
    pub(super) fn keep(&self, known: &Known) {
        let generations = self.generations();
        let next = generations.last().map_or(0, |newest| newest + 1);
        self.place(&serde_json::to_vec(known).unwrap(), &self.generation(next));
        for before in generations {
            fs::remove_file(self.generation(before)).unwrap();
        }
    }

    fn place(&self, bytes: &[u8], path: &Path) {
        let next = self.0.join("next");
        // Not written over, for the same reason.
        let _gone_is_fine = fs::remove_file(&next);
        fs::write(&next, bytes).unwrap();
        fs::rename(next, path).unwrap();
    }

    /// When a change is made now, as this file system tells times: its clock may tick slowly.
    pub(super) fn now(&self) -> (i64, i64) {
        let path = self.0.join("now");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let mut file = options.open(path).unwrap();
        file.write_all(b"now").unwrap();
        let metadata = file.metadata().unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    }

    fn blob_name(digest: &Digest) -> String {
        format!("blobs/{}", digest.to_hex())
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.0.join(Self::blob_name(digest)).exists()
    }

    pub(super) fn keep_blob(&self, digest: &Digest, bytes: &[u8]) {
        self.place(bytes, &self.0.join(Self::blob_name(digest)));
    }

    pub(super) fn blob(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(Self::blob_name(digest)))
    }

    pub(super) fn link_blob(&self, digest: &Digest, path: &Path) -> io::Result<()> {
        fs::hard_link(self.0.join(Self::blob_name(digest)), path)
    }

    /// Bytes that are free now.
    pub(super) fn remove_blob(&self, digest: &Digest) -> u64 {
        let path = self.0.join(Self::blob_name(digest));
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let _gone_is_fine = fs::remove_file(path);
        size
    }

    pub(super) fn keep_manifest(&self, manifest: &Manifest) -> Digest {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::of(&bytes);
        let path = self.0.join("manifests").join(digest.to_hex());
        if !path.exists() {
            self.place(&bytes, &path);
        }
        digest
    }

    pub(super) fn manifest(&self, digest: &Digest) -> Manifest {
        let path = self.0.join("manifests").join(digest.to_hex());
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.0.join("directories").join(name)
    }

    pub(super) fn cache(&self, directory: &str) -> Cache {
        fs::read(self.0.join("caches").join(directory))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn keep_cache(&self, directory: &str, cache: &Cache) {
        let bytes = serde_json::to_vec(cache).unwrap();
        let path = self.0.join("caches").join(directory);
        let _gone_is_fine = fs::remove_file(&path);
        // One that is lost on the way is made again.
        fs::write(path, bytes).unwrap();
    }

    /// A directory whose files go. A link in its place goes alone.
    pub(super) fn remove_directory(&self, name: &str) {
        let path = self.directory(name);
        if fs::remove_dir_all(&path).is_err() {
            let _gone_is_fine = fs::remove_file(&path);
        }
        let _gone_is_fine = fs::remove_file(self.0.join("caches").join(name));
    }

    /// Blobs, manifests and directories that nothing known needs go. Returns the bytes of blobs that are free now.
    pub(super) fn sweep(&self, known: &Known) -> u64 {
        let mut manifests: BTreeSet<Digest> = known
            .snapshots
            .values()
            .map(|kept| kept.record.manifest)
            .collect();
        let mut directories = BTreeSet::new();
        for works in known.workspaces.values() {
            if matches!(works.state, State::Active | State::Paused) {
                manifests.insert(works.first);
            }
            directories.extend(works.directory.clone());
        }
        let blobs: BTreeSet<String> = manifests
            .iter()
            .flat_map(|manifest| self.manifest(manifest).contents().collect::<Vec<_>>())
            .map(|(blob, _)| blob.to_hex())
            .collect();
        let manifests: BTreeSet<String> = manifests.iter().map(Digest::to_hex).collect();
        let mut free = 0;
        for name in self.names("blobs") {
            if !blobs.contains(&name) {
                let path = self.0.join("blobs").join(name);
                free += fs::metadata(&path).unwrap().len();
                fs::remove_file(path).unwrap();
            }
        }
        for name in self.names("manifests") {
            if !manifests.contains(&name) {
                fs::remove_file(self.0.join("manifests").join(name)).unwrap();
            }
        }
        for name in self.names("directories") {
            if !directories.contains(&name) {
                self.remove_directory(&name);
            }
        }
        free
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Bytes of all blobs and manifests.
    pub(super) fn occupied(&self) -> u64 {
        ["blobs", "manifests"]
            .iter()
            .flat_map(|folder| {
                self.names(folder)
                    .into_iter()
                    .map(move |name| (folder, name))
            })
            .map(|(folder, name)| fs::metadata(self.0.join(folder).join(name)).unwrap().len())
            .sum()
    }

    /// Whether a blob holds these bytes.
    pub(super) fn shows(&self, content: &[u8]) -> bool {
        self.names("blobs").into_iter().any(|name| {
            let blob = fs::read(self.0.join("blobs").join(name)).unwrap();
            blob.windows(content.len()).any(|part| part == content)
        })
    }
}
