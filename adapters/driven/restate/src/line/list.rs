//! Lists of runs under keys of their own, read when they are needed and written when they have changed.

use std::collections::BTreeMap;
use std::future::Future;

use super::Queued;

/// What is kept under keys.
pub(crate) trait Shelf: Sync {
    type Error: Send;

    /// What is under the key.
    fn read(
        &self,
        key: String,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;

    /// Says that what is under a key cannot be read.
    fn unreadable() -> Self::Error;
}

/// Runs, one a line. Adding one and taking the first one away leave the others unread.
#[derive(Debug, Default)]
pub(super) struct List {
    text: Vec<u8>,
    /// What comes before was taken away.
    start: usize,
    was_kept: bool,
    is_changed: bool,
}

/// A line that is no run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Garbled;

impl List {
    fn kept(text: Option<Vec<u8>>) -> Self {
        Self {
            was_kept: text.is_some(),
            text: text.unwrap_or_default(),
            ..Self::default()
        }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }

    pub(super) fn push(&mut self, queued: &Queued) -> Result<(), Garbled> {
        serde_json::to_writer(&mut self.text, queued).map_err(|_error| Garbled)?;
        self.text.push(b'\n');
        self.is_changed = true;
        Ok(())
    }

    pub(super) fn front(&self) -> Result<Option<Queued>, Garbled> {
        lines(self.rest()).next().map(parse).transpose()
    }

    pub(super) fn pop(&mut self) {
        let first = lines(self.rest()).next().map_or(0, <[u8]>::len);
        self.start += first;
        self.is_changed = true;
    }

    pub(super) fn all(&self) -> Result<Vec<Queued>, Garbled> {
        lines(self.rest()).map(parse).collect()
    }

    pub(super) fn replace(&mut self, runs: &[Queued]) -> Result<(), Garbled> {
        self.text.clear();
        self.start = 0;
        self.is_changed = true;
        runs.iter().try_for_each(|queued| self.push(queued))
    }

    /// What has to be written, if anything; `None` within: the key has to go.
    fn change(&self) -> Option<Option<Vec<u8>>> {
        let rest = self.rest();
        match (self.is_changed, rest.is_empty()) {
            (true, false) => Some(Some(rest.to_vec())),
            (true, true) if self.was_kept => Some(None),
            _ => None,
        }
    }
}

/// With their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

fn parse(line: &[u8]) -> Result<Queued, Garbled> {
    serde_json::from_slice(line).map_err(|_error| Garbled)
}

/// The lists that a step has to do with.
pub(super) struct Lists<'s, S> {
    shelf: &'s S,
    known: BTreeMap<String, List>,
}

impl<'s, S: Shelf> Lists<'s, S> {
    pub(super) fn on(shelf: &'s S) -> Self {
        Self {
            shelf,
            known: BTreeMap::new(),
        }
    }

    pub(super) const fn shelf(&self) -> &'s S {
        self.shelf
    }

    pub(super) async fn list(&mut self, key: String) -> Result<&mut List, S::Error> {
        if !self.known.contains_key(&key) {
            let text = self.shelf.read(key.clone()).await?;
            self.known.insert(key.clone(), List::kept(text));
        }
        Ok(self.known.entry(key).or_default())
    }

    /// A list that nobody has written yet.
    pub(super) fn new_list(&mut self, key: String) -> &mut List {
        self.known.entry(key).or_default()
    }

    /// What has to be written, by key; `None`: it has to go.
    pub(super) fn changes(&self) -> impl Iterator<Item = (String, Option<Vec<u8>>)> {
        let lists = self.known.iter();
        lists.filter_map(|(key, list)| Some((key.clone(), list.change()?)))
    }
}
