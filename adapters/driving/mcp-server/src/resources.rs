//! Runs and their records as resources.

use std::num::NonZeroU32;

use futures_util::StreamExt as _;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use seaworthy_core::log::Loaded;
use seaworthy_core::record::Link;
use seaworthy_ports::state_store::{Head, Labels, PageToken, Seq};
use seaworthy_ports::{Digest, RunId};
use serde_json::{Value, json};

use crate::arguments::InvalidArguments;
use crate::failure::Failure;
use crate::report::Report;
use crate::server::AgentServer;

const RUNS: &str = "seaworthy://runs/";
const JSON: &str = "application/json";
/// How many runs a page has.
const RUNS_PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
/// How many records a page has at most.
const RECORDS_PAGE: usize = 100;
/// How many bytes of records a page has at most; a record that is larger by itself is left out of it, and said to be.
const RECORDS_BYTES: usize = 512 * 1024;
/// The longest URI or cursor that is looked at.
const MAX_URI_BYTES: usize = 2048;

/// What a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// How a run stands.
    Run(RunId),
    /// Its records behind a link. Without a digest, they are read from the first.
    Records(RunId, Link),
}

pub(crate) fn run_uri(run: &RunId) -> String {
    format!("{RUNS}{run}")
}

/// Where the records of `run` behind `after` are.
pub(crate) fn records_uri(run: &RunId, after: Option<Link>) -> String {
    let after = after.map(|link| {
        let digest = link.digest.map(|digest| format!(".{digest}"));
        format!("?after={}{}", link.seq, digest.unwrap_or_default())
    });
    format!("{RUNS}{run}/records{}", after.unwrap_or_default())
}

fn parse(uri: &str) -> Result<Named, InvalidArguments> {
    let invalid = || {
        InvalidArguments(format!(
            "this server has {RUNS}{{run_id}} and {RUNS}{{run_id}}/records{{?after}}, and no other resources"
        ))
    };
    if uri.len() > MAX_URI_BYTES {
        return Err(invalid());
    }
    let rest = uri.strip_prefix(RUNS).ok_or_else(invalid)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    match (path.split_once('/'), query) {
        (None, None) => Ok(Named::Run(path.parse()?)),
        (Some((run, "records")), None) => Ok(Named::Records(run.parse()?, Link::default())),
        (Some((run, "records")), Some(query)) => {
            let after = query.strip_prefix("after=").ok_or_else(invalid)?;
            Ok(Named::Records(run.parse()?, link(after)?))
        }
        _ => Err(invalid()),
    }
}

/// A number, and for the reader's sake the digest of that record.
fn link(text: &str) -> Result<Link, InvalidArguments> {
    let invalid = || {
        InvalidArguments(
            "`after` is the number of a record, or what `next` of the page before says".to_owned(),
        )
    };
    let (seq, digest) = match text.split_once('.') {
        Some((seq, digest)) => (seq, Some(digest)),
        None => (text, None),
    };
    let digest = digest
        .map(str::parse::<Digest>)
        .transpose()
        .map_err(|_not_one| invalid())?;
    Ok(Link {
        seq: Seq(seq.parse().map_err(|_not_one| invalid())?),
        digest,
    })
}

pub(crate) fn templates() -> ListResourceTemplatesResult {
    let run = ResourceTemplate::new(format!("{RUNS}{{run_id}}"), "run")
        .with_title("How a run stands")
        .with_description("Status, answer, and what it waits for")
        .with_mime_type(JSON);
    let records = ResourceTemplate::new(format!("{RUNS}{{run_id}}/records{{?after}}"), "records")
        .with_title("What happened in a run")
        .with_description(
            "A page of its records, the first ones or those behind `after`; `next` is the URI of the page that follows, while there is one",
        )
        .with_mime_type(JSON);
    ListResourceTemplatesResult::with_all_items(vec![run, records])
}

impl AgentServer {
    /// A page of runs: agent after agent, the newest of each first.
    pub(crate) async fn list_runs(
        &self,
        cursor: Option<&str>,
    ) -> Result<ListResourcesResult, Failure> {
        let names: Vec<&str> = self.agents().names().collect();
        let (mut index, mut page) = match cursor {
            Some(cursor) => place(cursor, names.len())?,
            None => (0, None),
        };
        let mut resources = Vec::new();
        let mut next = None;
        // One page of the store for each agent at most, and no more runs than a page has.
        while let Some(name) = names.get(index) {
            let labels = Labels::from([("agent".to_owned(), (*name).to_owned())]);
            let found = self.harness().runs(labels, RUNS_PAGE, page.take()).await?;
            let is_empty = found.items.is_empty();
            resources.extend(found.items.iter().filter_map(resource));
            next = match found.next {
                Some(token) => Some(format!("{index}.{}", token.0)),
                None => {
                    index = index.saturating_add(1);
                    (index < names.len()).then(|| format!("{index}."))
                }
            };
            if !is_empty {
                break;
            }
        }
        let mut listed = ListResourcesResult::with_all_items(resources);
        listed.next_cursor = next;
        Ok(listed)
    }

    /// What `uri` names.
    pub(crate) async fn read_uri(&self, uri: &str) -> Result<ReadResourceResult, Failure> {
        let value = match parse(uri)? {
            Named::Run(run) => {
                let view = self.view(&run).await?;
                serde_json::to_value(Report::of(&view)).unwrap_or_default()
            }
            Named::Records(run, after) => {
                // Whose run it is must be known before anything of it is shown.
                let view = self.view(&run).await?;
                self.page(&run, after, view.state.link.seq).await?
            }
        };
        let contents = ResourceContents::text(value.to_string(), uri).with_mime_type(JSON);
        Ok(ReadResourceResult::new(vec![contents]))
    }

    async fn page(&self, run: &RunId, after: Link, head: Seq) -> Result<Value, Failure> {
        // The chain is checked from where its digest is known: from the start if need be.
        let (from, skip) = match after.digest {
            Some(_) => (after, Seq::ZERO),
            None => (Link::default(), after.seq),
        };
        let mut found = self.harness().records(run, from);
        let (mut records, mut bytes, mut last) = (Vec::new(), 0_usize, None);
        while let Some(loaded) = found.next().await {
            let loaded = loaded.map_err(|error| wrong_digest(error, after))?;
            if loaded.envelope.seq <= skip {
                continue;
            }
            let record = shown(&loaded);
            let size = record.to_string().len();
            if !records.is_empty() && bytes.saturating_add(size) > RECORDS_BYTES {
                break;
            }
            bytes = bytes.saturating_add(size);
            records.push(record);
            last = Some(loaded.link);
            if records.len() >= RECORDS_PAGE {
                break;
            }
        }
        let next = last
            .filter(|last| last.seq < head)
            .map(|last| records_uri(run, Some(last)));
        Ok(json!({ "run_id": run, "records": records, "next": next }))
    }
}

/// A link that somebody made up is their mistake, and a link that the log does not continue is the log's.
fn wrong_digest(error: seaworthy_core::log::LogError, after: Link) -> Failure {
    use seaworthy_core::log::LogError;
    use seaworthy_core::record::RecordError;
    match error {
        LogError::Record {
            source: RecordError::Broken { seq, .. },
            ..
        } if after.digest.is_some() && seq == after.seq.next() => {
            let why =
                "`after` names no record of this run; begin without it, or with its number alone";
            InvalidArguments(why.to_owned()).into()
        }
        error => seaworthy_core::harness::HarnessError::Log(error).into(),
    }
}

fn shown(loaded: &Loaded) -> Value {
    let envelope = &loaded.envelope;
    let record = |data: &Value| {
        json!({
            "seq": envelope.seq,
            "type": envelope.kind,
            "at": envelope.at,
            "attempt": envelope.attempt,
            "data": data,
        })
    };
    let whole = record(&envelope.data);
    let size = whole.to_string().len();
    if size <= RECORDS_BYTES {
        return whole;
    }
    record(&json!({ "$left_out": "the record is too large for a page", "bytes": size }))
}

fn resource(head: &Head) -> Option<Resource> {
    let run: RunId = head.log.name.as_str().parse().ok()?;
    let label = |name: &str| head.labels.get(name).map_or("", String::as_str);
    // What the store's listing says of a run whose worker died lags behind: reading the run does not.
    let about = format!("{}, {}", label("agent"), label("status"));
    Some(
        Resource::new(run_uri(&run), run.as_str())
            .with_title(about)
            .with_description(format!("A run begun at {}", label("created_at")))
            .with_mime_type(JSON),
    )
}

/// Where a page of runs begins: at an agent, behind what the store calls a page.
fn place(cursor: &str, agents: usize) -> Result<(usize, Option<PageToken>), InvalidArguments> {
    let invalid =
        || InvalidArguments("this is no cursor of this server; list again without one".to_owned());
    if cursor.len() > MAX_URI_BYTES {
        return Err(invalid());
    }
    let (index, token) = cursor.split_once('.').ok_or_else(invalid)?;
    let index: usize = index.parse().map_err(|_not_one| invalid())?;
    if index >= agents {
        return Err(invalid());
    }
    let token = (!token.is_empty()).then(|| PageToken(token.to_owned()));
    Ok((index, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        "run_1".parse().unwrap()
    }

    #[test]
    fn a_uri_names_what_it_was_made_for() {
        assert_eq!(parse(&run_uri(&run())), Ok(Named::Run(run())));
        let first = Named::Records(run(), Link::default());
        assert_eq!(parse(&records_uri(&run(), None)), Ok(first));
        let link = Link {
            seq: Seq(7),
            digest: Some(Digest::of(b"seven")),
        };
        let behind = Named::Records(run(), link);
        assert_eq!(parse(&records_uri(&run(), Some(link))), Ok(behind));
        let by_hand = Link {
            seq: Seq(7),
            digest: None,
        };
        let uri = "seaworthy://runs/run_1/records?after=7";
        assert_eq!(parse(uri), Ok(Named::Records(run(), by_hand)));
    }

    #[test]
    fn anything_else_is_no_resource() {
        for uri in [
            "",
            "file:///etc/passwd",
            "seaworthy://runs/",
            "seaworthy://runs/..",
            "seaworthy://runs/a/b",
            "seaworthy://runs/a/records/1",
            "seaworthy://runs/a/records?before=1",
            "seaworthy://runs/a/records?after=x",
            "seaworthy://runs/a/records?after=1.sha256:zz",
            "seaworthy://runs/a?after=1",
        ] {
            assert!(parse(uri).is_err(), "{uri}");
        }
        let long = format!("{RUNS}{}", "a".repeat(MAX_URI_BYTES));
        assert!(parse(&long).is_err());
    }

    #[test]
    fn a_cursor_that_was_made_up_is_refused() {
        assert!(place("0.", 1).is_ok());
        for cursor in ["", "0", "1.", "-1.", "x.y"] {
            assert!(place(cursor, 1).is_err(), "{cursor}");
        }
    }
}
