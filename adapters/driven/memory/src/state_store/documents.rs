//! The documents: values with a version and a writer.

use std::collections::BTreeMap;

use seaworthy_ports::state_store::{
    Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Kind, Page, PageToken,
    PutDocument, StateStoreError, Version,
};
use seaworthy_ports::{DocumentPath, LogId};

use crate::error::state_store as error;

/// Documents by scope and path; a scope without documents has no entry.
#[derive(Default)]
pub(super) struct Documents(BTreeMap<LogId, BTreeMap<DocumentPath, Document>>);

fn is_expected(found: Option<Version>, expected: ExpectedVersion) -> bool {
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::Absent => found.is_none(),
        ExpectedVersion::Version(version) => found == Some(version),
    }
}

impl Documents {
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub(super) fn get(&self, key: &DocumentKey) -> Option<Document> {
        self.0.get(&key.scope)?.get(&key.path).cloned()
    }

    fn version(&self, key: &DocumentKey) -> Option<Version> {
        self.0
            .get(&key.scope)?
            .get(&key.path)
            .map(|document| document.version)
    }

    pub(super) fn put(&mut self, put: PutDocument) -> Result<Version, StateStoreError> {
        let found = self.version(&put.key);
        if !is_expected(found, put.expected) {
            return Err(error(
                Kind::Conflict { head: None },
                "put",
                "the document has another version",
            ));
        }
        let version = Version(found.map_or(1, |Version(found)| found.saturating_add(1)));
        let document = Document {
            version,
            writer: put.writer,
            value: put.value,
        };
        self.0
            .entry(put.key.scope)
            .or_default()
            .insert(put.key.path, document);
        Ok(version)
    }

    pub(super) fn remove(
        &mut self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        if !is_expected(self.version(key), expected) {
            return Err(error(
                Kind::Conflict { head: None },
                "remove",
                "the document has another version",
            ));
        }
        if let Some(documents) = self.0.get_mut(&key.scope) {
            documents.remove(&key.path);
            if documents.is_empty() {
                self.0.remove(&key.scope);
            }
        }
        Ok(())
    }

    pub(super) fn delete_scope(&mut self, scope: &LogId) {
        self.0.remove(scope);
    }

    /// A page token is the last path of its page.
    pub(super) fn list(&self, query: &DocumentQuery) -> Page<DocumentEntry> {
        let Some(documents) = self.0.get(&query.scope) else {
            return Page {
                items: Vec::new(),
                next: None,
            };
        };
        let after = query.page.as_ref().map(|PageToken(path)| path.as_str());
        let mut rest = documents
            .iter()
            .skip_while(|(path, _)| after.is_some_and(|after| path.as_str() <= after))
            .filter(|(path, _)| path.as_str().starts_with(&query.prefix));
        let items: Vec<_> = rest
            .by_ref()
            .take(query.limit.get() as usize)
            .map(|(path, document)| DocumentEntry {
                path: path.clone(),
                version: document.version,
                writer: document.writer.clone(),
                size: document.value.len() as u64,
            })
            .collect();
        let next = match (items.last(), rest.next()) {
            (Some(last), Some(_more)) => Some(PageToken(last.path.as_str().to_owned())),
            _ => None,
        };
        Page { items, next }
    }
}
