//! The logs: records, heads and tombstones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Head, HeadQuery, Kind, Labels, Order, Page, PageToken, Record, Seq,
    StateStoreError,
};
use seaworthy_ports::{AppendId, LogId, LogKind, LogName};

use crate::error::state_store as error;

#[derive(Default)]
pub(super) struct Logs {
    logs: BTreeMap<LogId, Log>,
    /// The live logs of each kind in the order of their creation, which is the order of `list`.
    created: BTreeMap<LogKind, BTreeMap<u64, LogName>>,
    /// How many logs were ever created.
    count: u64,
}

enum Log {
    Live(Live),
    /// Deleted: the name stays taken for ever.
    Gone,
}

struct Live {
    number: u64,
    records: Vec<Bytes>,
    labels: Labels,
    sealed: bool,
    /// The newest append: its id, what it expected, and how many bodies it had.
    newest: (AppendId, Expected, usize),
}

impl Live {
    fn seq(&self) -> Seq {
        Seq(self.records.len() as u64)
    }

    fn head(&self, log: &LogId) -> Head {
        Head {
            log: log.clone(),
            seq: self.seq(),
            sealed: self.sealed,
            labels: self.labels.clone(),
        }
    }

    /// Whether the newest append said exactly this. What it wrote is still the log's end, so nothing else is kept.
    fn ended_with(&self, append: &Append) -> bool {
        let (_, expected, count) = &self.newest;
        let written = self
            .records
            .len()
            .checked_sub(*count)
            .and_then(|first| self.records.get(first..));
        *expected == append.expected
            && written.is_some_and(|bodies| bodies == append.bodies)
            && self.labels == append.labels
            && self.sealed == append.seal
    }
}

fn refused<T>(kind: Kind, why: &str) -> Result<T, StateStoreError> {
    Err(error(kind, "append", why))
}

impl Logs {
    pub(super) fn len(&self) -> usize {
        self.logs.len()
    }

    pub(super) fn append(&mut self, append: Append) -> Result<Appended, StateStoreError> {
        let newest = (append.id.clone(), append.expected, append.bodies.len());
        match self.logs.entry(append.log.clone()) {
            Entry::Vacant(place) => {
                if append.expected != Expected::Absent {
                    return refused(Kind::Conflict { head: None }, "there is no such log");
                }
                let live = Live {
                    number: self.count,
                    records: append.bodies,
                    labels: append.labels,
                    sealed: append.seal,
                    newest,
                };
                let head = live.seq();
                self.created
                    .entry(append.log.kind)
                    .or_default()
                    .insert(self.count, append.log.name);
                self.count += 1;
                place.insert(Log::Live(live));
                Ok(Appended { head })
            }
            Entry::Occupied(mut place) => {
                let Log::Live(live) = place.get_mut() else {
                    return refused(Kind::Gone, "the log was deleted");
                };
                if live.newest.0 == append.id {
                    if live.ended_with(&append) {
                        return Ok(Appended { head: live.seq() });
                    }
                    return refused(Kind::Rejected, "the append's id was used for other content");
                }
                if live.sealed {
                    return refused(Kind::Sealed, "the log is closed");
                }
                let head = live.seq();
                if append.expected != Expected::Head(head) {
                    return refused(
                        Kind::Conflict { head: Some(head) },
                        "the log has another head",
                    );
                }
                live.records.extend(append.bodies);
                live.labels = append.labels;
                live.sealed = append.seal;
                live.newest = newest;
                Ok(Appended { head: live.seq() })
            }
        }
    }

    pub(super) fn records_after(&self, log: &LogId, after: Seq) -> Vec<Record> {
        let Some(Log::Live(live)) = self.logs.get(log) else {
            return Vec::new();
        };
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
        let rest = live.records.get(skip..).unwrap_or_default();
        (after.0..)
            .zip(rest)
            .map(|(before, body)| Record {
                seq: Seq(before).next(),
                body: body.clone(),
            })
            .collect()
    }

    pub(super) fn head(&self, log: &LogId) -> Option<Head> {
        match self.logs.get(log) {
            Some(Log::Live(live)) => Some(live.head(log)),
            Some(Log::Gone) | None => None,
        }
    }

    pub(super) fn is_deleted(&self, log: &LogId) -> bool {
        matches!(self.logs.get(log), Some(Log::Gone))
    }

    pub(super) fn delete(&mut self, log: &LogId) {
        if let Some(Log::Live(live)) = self.logs.insert(log.clone(), Log::Gone)
            && let Some(created) = self.created.get_mut(&log.kind)
        {
            created.remove(&live.number);
        }
    }

    /// A page token is the number of the last log of its page: inserts get higher numbers, deletions leave gaps.
    pub(super) fn list(&self, query: &HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let last = match &query.page {
            None => None,
            Some(PageToken(token)) => match token.parse::<u64>() {
                Ok(number) => Some(number),
                Err(_) => {
                    return Err(error(
                        Kind::Rejected,
                        "list",
                        "the page token is not from this store",
                    ));
                }
            },
        };
        let Some(created) = self.created.get(&query.kind) else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        };
        match query.order {
            Order::OldestFirst => {
                let start = last.map_or(0, |last| last.saturating_add(1));
                Ok(self.page(query, created.range(start..)))
            }
            Order::NewestFirst => {
                Ok(self.page(query, created.range(..last.unwrap_or(u64::MAX)).rev()))
            }
        }
    }

    fn page<'a>(
        &self,
        query: &HeadQuery,
        numbered: impl Iterator<Item = (&'a u64, &'a LogName)>,
    ) -> Page<Head> {
        let mut found = numbered.filter_map(|(number, name)| {
            let log = LogId::new(query.kind.clone(), name.clone());
            let head = self.head(&log)?;
            query
                .labels
                .iter()
                .all(|(label, value)| head.labels.get(label) == Some(value))
                .then_some((*number, head))
        });
        let (mut items, mut last) = (Vec::new(), 0);
        for (number, head) in found.by_ref().take(query.limit.get() as usize) {
            items.push(head);
            last = number;
        }
        let next = found.next().map(|_more| PageToken(last.to_string()));
        Page { items, next }
    }
}
