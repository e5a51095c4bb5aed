//! Walks a part of the workspace, in order and within bounds.

use seaworthy_ports::sandbox::{FileKind, Kind, Metadata};

use super::ToolContext;
use super::arguments::join;
use super::failure::Trouble;

/// Directories that searches do not enter unless they start in them: version control, Seaworthy's own state, and what
/// builds leave behind. No other ignore rule applies.
pub(super) const SKIPPED: [&str; 4] = [".git", ".seaworthy", "target", "node_modules"];

/// How many entries a walk looks at.
const MAX_ENTRIES: usize = 100_000;
/// How many entries of one directory it looks at.
const MAX_DIRECTORY: usize = 20_000;

/// Something the walk came to.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is, relative to the workspace.
    pub(super) path: String,
    /// How many directories below the start; its entries have 1.
    pub(super) depth: u32,
    /// What it is.
    pub(super) metadata: Metadata,
}

/// Depth first, each directory by name, symbolic links named but not followed.
#[derive(Debug)]
pub(super) struct Walk {
    waiting: Vec<Found>,
    max_depth: u32,
    seen: usize,
    is_cut: bool,
}

impl Walk {
    /// A walk through the directory `start`, at most `max_depth` levels deep.
    pub(super) async fn new(
        context: &ToolContext,
        start: &str,
        max_depth: u32,
    ) -> Result<Self, Trouble> {
        let mut walk = Self {
            waiting: Vec::new(),
            max_depth,
            seen: 0,
            is_cut: false,
        };
        walk.enter(context, start, 0)
            .await
            .map_err(|error| Trouble::at(start, &error))?;
        Ok(walk)
    }

    /// The next entry; `None` once all are seen or a bound is reached.
    pub(super) async fn next(&mut self, context: &ToolContext) -> Result<Option<Found>, Trouble> {
        if context.cancel.is_set() {
            return Err(Trouble::cancelled());
        }
        let Some(found) = self.waiting.pop() else {
            return Ok(None);
        };
        let name = found.path.rsplit('/').next().unwrap_or_default();
        let enters = found.metadata.kind == FileKind::Directory
            && found.depth < self.max_depth
            && !SKIPPED.contains(&name);
        if enters && let Err(error) = self.enter(context, &found.path, found.depth).await {
            match error.kind() {
                // It has gone or is not ours to read since it was listed: the answer is incomplete, the rest is fine.
                Kind::NotFound | Kind::WrongType | Kind::Denied => self.is_cut = true,
                _ => return Err(Trouble::at(&found.path, &error)),
            }
        }
        Ok(Some(found))
    }

    /// Whether something was left out because of a bound or because it could not be read.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    async fn enter(
        &mut self,
        context: &ToolContext,
        path: &str,
        depth: u32,
    ) -> Result<(), seaworthy_ports::sandbox::SandboxError> {
        let room = MAX_ENTRIES.saturating_sub(self.seen).min(MAX_DIRECTORY);
        if room == 0 {
            self.is_cut = true;
            return Ok(());
        }
        let listing = context.session.list(path, room).await?;
        self.is_cut |= listing.is_cut;
        self.seen = self.seen.saturating_add(listing.entries.len());
        // The last one waiting comes next, so the first name goes in last.
        self.waiting
            .extend(listing.entries.into_iter().rev().map(|entry| Found {
                path: join(path, &entry.name),
                depth: depth.saturating_add(1),
                metadata: entry.metadata,
            }));
        Ok(())
    }
}
