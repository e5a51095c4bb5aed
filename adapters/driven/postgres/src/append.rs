//! Appends as the database takes them: many in one statement, and what became of each.

use std::collections::HashMap;

use bytes::Bytes;
use seaworthy_ports::LogId;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Seq, StateStoreError,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, Postgres, Row as _};

use crate::bodies::pack;
use crate::database::Statement;
use crate::error::{ADAPTER, undecodable};
use crate::labels;

/// The most bytes of bodies in one append, and of one document.
pub(crate) const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;

const BY_NAME: &str =
    "SELECT ords, verdicts, heads, numbers FROM append_named($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const BY_NUMBER: &str = "SELECT append_numbered($1, $2, $3, $4, $5, $6, $7, $8)";

/// About how many bytes an append holds while it waits.
pub(crate) fn size(append: &Append) -> usize {
    append
        .bodies
        .iter()
        .fold(512, |sum, body| sum.saturating_add(body.len()))
}

/// What can be told of an append without asking anybody.
pub(crate) fn check(append: &Append) -> Result<(), StateStoreError> {
    if append.bodies.is_empty() {
        return Err(refusal(Kind::Rejected, "there is nothing to append"));
    }
    let bytes = append
        .bodies
        .iter()
        .fold(0_usize, |sum, body| sum.saturating_add(body.len()));
    if bytes > MAX_APPEND_BYTES {
        return Err(refusal(Kind::TooLarge, "the bodies are too large"));
    }
    let too_long = |text: &String| text.len() > MAX_LABEL_BYTES;
    if append.labels.len() > MAX_LABELS
        || append
            .labels
            .iter()
            .any(|(name, value)| too_long(name) || too_long(value))
    {
        return Err(refusal(Kind::Rejected, "too many or too long labels"));
    }
    Ok(())
}

fn refusal(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, "append", why)
}

/// An open log as the newest append of this process left it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    number: i64,
    seq: u64,
    labels: Labels,
}

impl Known {
    /// How to find the log of `append` without its name, if `append` expects this head.
    pub(crate) fn route(&self, append: &Append) -> Option<Route> {
        let is_head = append.expected == Expected::Head(Seq(self.seq)) && self.seq > 0;
        is_head.then(|| Route {
            number: self.number,
            relabels: self.labels != append.labels,
        })
    }
}

/// What an append that was made says of its log.
pub(crate) struct Learned {
    number: i64,
    seq: u64,
    sealed: bool,
    /// `None`: as they were.
    labels: Option<Labels>,
}

impl Learned {
    /// What `append`, which was made, leaves; `number` is asked for where the append had no route.
    pub(crate) fn of(
        append: &mut Append,
        route: Option<Route>,
        number: Option<i64>,
    ) -> Option<Self> {
        let keeps_labels = route.is_some_and(|route| !route.relabels);
        Some(Self {
            number: route.map(|route| route.number).or(number)?,
            seq: made(append).head.0,
            sealed: append.seal,
            labels: (!keeps_labels).then(|| std::mem::take(&mut append.labels)),
        })
    }
}

/// The logs that this process has appended to, as it left them. What somebody else appends shows: their heads are not as
/// expected then.
#[derive(Debug, Default)]
pub(crate) struct KnownLogs(HashMap<LogId, Known>);

impl KnownLogs {
    /// With one more they are all forgotten, and learned again.
    const MOST: usize = 8_192;

    pub(crate) fn get(&self, log: &LogId) -> Option<&Known> {
        self.0.get(log)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes in what an append left; `None`: nothing is certain any more.
    pub(crate) fn learn(&mut self, log: LogId, learned: Option<Learned>) {
        let Some(learned) = learned.filter(|learned| !learned.sealed) else {
            self.0.remove(&log);
            return;
        };
        let Learned {
            number,
            seq,
            sealed: _,
            labels,
        } = learned;
        if let Some(labels) = labels {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            let known = Known {
                number,
                seq,
                labels,
            };
            self.0.insert(log, known);
        } else if let Some(known) = self.0.get_mut(&log) {
            known.seq = seq;
        }
    }
}

/// How a log is found without its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) number: i64,
    /// Whether the log gets other labels.
    pub(crate) relabels: bool,
}

/// What is the same for both kinds of statement, in columns.
struct Columns<'a> {
    ids: Vec<&'a str>,
    expected: Vec<i64>,
    counts: Vec<i64>,
    packed: Vec<(Option<Vec<u8>>, Bytes)>,
    seals: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(appends: impl Iterator<Item = &'a Append>) -> Self {
        let room = appends.size_hint().0;
        let mut columns = Self {
            ids: Vec::with_capacity(room),
            expected: Vec::with_capacity(room),
            counts: Vec::with_capacity(room),
            packed: Vec::with_capacity(room),
            seals: Vec::with_capacity(room),
        };
        for append in appends {
            columns.ids.push(append.id.as_str());
            columns.expected.push(expected(append.expected));
            let count = i64::try_from(append.bodies.len()).unwrap_or(i64::MAX);
            columns.counts.push(count);
            columns.packed.push(pack(&append.bodies));
            columns.seals.push(append.seal);
        }
        columns
    }

    fn add(&self, arguments: &mut PgArguments) -> Result<(), sqlx::Error> {
        let lengths = self.packed.iter().map(|(lengths, _)| lengths.as_deref());
        let bodies = self.packed.iter().map(|(_, bodies)| &**bodies);
        add(arguments, &self.ids)?;
        add(arguments, &self.expected)?;
        add(arguments, &self.counts)?;
        add(arguments, lengths.collect::<Vec<Option<&[u8]>>>())?;
        add(arguments, bodies.collect::<Vec<&[u8]>>())
    }
}

fn add<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), sqlx::Error>
where
    T: sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
{
    arguments.add(value).map_err(sqlx::Error::Encode)
}

fn label_text(append: &Append) -> Result<String, sqlx::Error> {
    labels::to_text(&append.labels).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// One statement for all of them, which are of different logs. It holds copies of what it sends.
pub(crate) fn by_name<'a>(
    appends: impl Iterator<Item = &'a Append> + Clone,
) -> Result<Statement, sqlx::Error> {
    let logs = appends.clone().map(|append| &append.log);
    let kinds: Vec<&str> = logs.clone().map(|log| log.kind.as_str()).collect();
    let names: Vec<&str> = logs.map(|log| log.name.as_str()).collect();
    let labels: Vec<String> = appends.clone().map(label_text).collect::<Result<_, _>>()?;
    let columns = Columns::of(appends);
    let mut arguments = PgArguments::default();
    add(&mut arguments, kinds)?;
    add(&mut arguments, names)?;
    columns.add(&mut arguments)?;
    add(&mut arguments, labels)?;
    add(&mut arguments, &columns.seals)?;
    Ok(sqlx::query_with(BY_NAME, arguments))
}

/// The same for logs that are known.
pub(crate) fn by_number<'a>(
    appends: impl Iterator<Item = (&'a Append, Route)> + Clone,
) -> Result<Statement, sqlx::Error> {
    let numbers: Vec<i64> = appends.clone().map(|(_, route)| route.number).collect();
    let labels = appends
        .clone()
        .map(|(append, route)| route.relabels.then(|| label_text(append)).transpose());
    let labels: Vec<Option<String>> = labels.collect::<Result<_, _>>()?;
    let columns = Columns::of(appends.map(|(append, _)| append));
    let mut arguments = PgArguments::default();
    add(&mut arguments, numbers)?;
    columns.add(&mut arguments)?;
    add(&mut arguments, labels)?;
    add(&mut arguments, &columns.seals)?;
    Ok(sqlx::query_with(BY_NUMBER, arguments))
}

fn expected(expected: Expected) -> i64 {
    match expected {
        Expected::Absent => -1,
        // No log is longer, so nothing larger is ever the head.
        Expected::Head(seq) => i64::try_from(seq.0).unwrap_or(i64::MAX),
    }
}

/// What became of one append of a batch.
pub(crate) type Outcome = Result<Appended, StateStoreError>;

/// What became of each of these appends; `None`: nothing, somebody else has its head at the moment. And the numbers of
/// their logs.
///
/// The answer tells of those that were not made.
#[expect(clippy::type_complexity, reason = "two lists")]
pub(crate) fn outcomes_by_name<'a>(
    row: &PgRow,
    appends: impl Iterator<Item = &'a Append>,
) -> Result<(Vec<Option<Outcome>>, Vec<Option<i64>>), sqlx::Error> {
    let mut outcomes: Vec<Option<Outcome>> = appends.map(|append| Some(Ok(made(append)))).collect();
    let numbers: Vec<Option<i64>> = row.try_get(3)?;
    let Some(ords): Option<Vec<i64>> = row.try_get(0)? else {
        return Ok((outcomes, numbers));
    };
    let verdicts: Vec<i32> = row.try_get(1)?;
    let heads: Vec<Option<i64>> = row.try_get(2)?;
    for ((ord, verdict), head) in ords.into_iter().zip(verdicts).zip(heads) {
        *member(&mut outcomes, ord)? = verdict_of(verdict, head)?.map(Err);
    }
    Ok((outcomes, numbers))
}

/// What became of each of these appends; `None`: nothing, its head is not what was thought, or somebody else has it.
///
/// The answer tells of those that were made, unless all were.
pub(crate) fn outcomes_by_number<'a>(
    row: &PgRow,
    appends: impl Iterator<Item = &'a Append>,
) -> Result<Vec<Option<Outcome>>, sqlx::Error> {
    let mut outcomes: Vec<Option<Outcome>> = appends.map(|append| Some(Ok(made(append)))).collect();
    if let Some(ords) = row.try_get::<Option<Vec<i64>>, _>(0)? {
        let mut were_made = vec![None; outcomes.len()];
        for ord in ords {
            *member(&mut were_made, ord)? = Some(());
        }
        for (outcome, was_made) in outcomes.iter_mut().zip(were_made) {
            if was_made.is_none() {
                *outcome = None;
            }
        }
    }
    Ok(outcomes)
}

/// What is said of the member with that ordinal, which counts from one.
fn member<T>(members: &mut [T], ord: i64) -> Result<&mut T, sqlx::Error> {
    usize::try_from(ord)
        .ok()
        .and_then(|ord| members.get_mut(ord.checked_sub(1)?))
        .ok_or_else(|| undecodable("which append of a batch an answer is for"))
}

/// An append that was made has moved the head that it expected.
fn made(append: &Append) -> Appended {
    let before = match append.expected {
        Expected::Absent => 0,
        Expected::Head(seq) => seq.0,
    };
    let records = u64::try_from(append.bodies.len()).unwrap_or(u64::MAX);
    Appended {
        head: Seq(before.saturating_add(records)),
    }
}

fn verdict_of(verdict: i32, head: Option<i64>) -> Result<Option<StateStoreError>, sqlx::Error> {
    let head = head
        .map(|head| u64::try_from(head).map(Seq))
        .transpose()
        .map_err(|_negative| undecodable("a log's head"))?;
    Ok(Some(match verdict {
        1 => refusal(Kind::Conflict { head }, "the head is not the expected one"),
        2 => refusal(Kind::Sealed, "the log is sealed"),
        3 => refusal(Kind::Gone, "the log was deleted"),
        4 => refusal(
            Kind::Rejected,
            "the newest append has this id and another content",
        ),
        7 => return Ok(None),
        _ => return Err(undecodable("what became of an append")),
    }))
}
