//! Appends as the database takes them: many in one statement, and what became of each.

use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, MAX_LABEL_BYTES, MAX_LABELS, Seq, StateStoreError,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, Row as _};

use crate::bodies::pack;
use crate::database::Statement;
use crate::error::{ADAPTER, undecodable};
use crate::labels;

/// The most bytes of bodies in one append, and of one document.
pub(crate) const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;

const APPEND: &str =
    "SELECT ords, verdicts, heads FROM append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9)";

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

/// One statement for all of them, which are of different logs. It holds copies of what it sends.
pub(crate) fn statement<'a>(
    appends: impl Iterator<Item = &'a Append> + Clone,
) -> Result<Statement, sqlx::Error> {
    let packed: Vec<_> = appends.clone().map(|append| pack(&append.bodies)).collect();
    let collect = || appends.clone();
    let kinds: Vec<&str> = collect().map(|append| append.log.kind.as_str()).collect();
    let names: Vec<&str> = collect().map(|append| append.log.name.as_str()).collect();
    let ids: Vec<&str> = collect().map(|append| append.id.as_str()).collect();
    let expected: Vec<i64> = collect().map(|append| expected(append.expected)).collect();
    let counts: Vec<i64> = collect()
        .map(|append| i64::try_from(append.bodies.len()).unwrap_or(i64::MAX))
        .collect();
    let lengths: Vec<Option<&[u8]>> = packed
        .iter()
        .map(|(lengths, _)| lengths.as_deref())
        .collect();
    let bodies: Vec<&[u8]> = packed.iter().map(|(_, bodies)| bodies.as_ref()).collect();
    let labels: Vec<String> = collect()
        .map(|append| labels::to_text(&append.labels))
        .collect::<Result<_, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let seals: Vec<bool> = collect().map(|append| append.seal).collect();
    let mut arguments = PgArguments::default();
    arguments.add(kinds).map_err(sqlx::Error::Encode)?;
    arguments.add(names).map_err(sqlx::Error::Encode)?;
    arguments.add(ids).map_err(sqlx::Error::Encode)?;
    arguments.add(expected).map_err(sqlx::Error::Encode)?;
    arguments.add(counts).map_err(sqlx::Error::Encode)?;
    arguments.add(lengths).map_err(sqlx::Error::Encode)?;
    arguments.add(bodies).map_err(sqlx::Error::Encode)?;
    arguments.add(labels).map_err(sqlx::Error::Encode)?;
    arguments.add(seals).map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(APPEND, arguments))
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

/// What became of each of these appends; `None`: nothing, somebody else has its head at the moment.
///
/// The answer tells of those that were not made.
pub(crate) fn outcomes<'a>(
    row: &PgRow,
    appends: impl Iterator<Item = &'a Append>,
) -> Result<Vec<Option<Outcome>>, sqlx::Error> {
    let mut outcomes: Vec<Option<Outcome>> = appends.map(|append| Some(Ok(made(append)))).collect();
    let Some(ords): Option<Vec<i64>> = row.try_get(0)? else {
        return Ok(outcomes);
    };
    let verdicts: Vec<i32> = row.try_get(1)?;
    let heads: Vec<Option<i64>> = row.try_get(2)?;
    for ((ord, verdict), head) in ords.into_iter().zip(verdicts).zip(heads) {
        let outcome = usize::try_from(ord)
            .ok()
            .and_then(|ord| outcomes.get_mut(ord.checked_sub(1)?))
            .ok_or_else(|| undecodable("which append of a batch an answer is for"))?;
        *outcome = verdict_of(verdict, head)?.map(Err);
    }
    Ok(outcomes)
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
