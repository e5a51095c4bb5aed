//! `compare`: two runs, section by section.

use seaworthy::compare::{Amount, Change, ChangeKind, Comparison, Entry, Measure};

use super::{Context, id};
use crate::args::CompareArgs;
use crate::error::{CliError, Exit};
use crate::output::{brief, clean};

/// The most characters of an entry on a line.
const LONGEST: usize = 160;

pub(super) async fn compare(context: &Context, args: &CompareArgs) -> Result<Exit, CliError> {
    let (left, right) = (id(&args.left)?, id(&args.right)?);
    let stack = context.open().await?;
    let compared = stack.harness.compare(&left, &right).await;
    stack.close().await;
    let compared = compared?;
    if context.output.json {
        context.output.json(&compared)?;
    } else {
        for line in lines(&compared) {
            context.output.line(&line)?;
        }
    }
    Ok(if compared.same {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

fn lines(compared: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    match &compared.first {
        None => lines.push("the runs are the same".to_owned()),
        Some(first) => lines.push(format!(
            "the runs part after {} answers, in {}",
            first.answers,
            first.section.as_str()
        )),
    }
    for section in &compared.sections {
        let total = section.changes.len().saturating_add(section.more);
        let how = match total {
            0 => "same".to_owned(),
            1 => "1 change".to_owned(),
            total => format!("{total} changes"),
        };
        lines.push(format!(
            "{:<12} {:>5} {:>5}  {how}",
            section.section.as_str(),
            section.left,
            section.right
        ));
        lines.extend(section.changes.iter().flat_map(changed));
        if section.more > 0 {
            lines.push(format!("  and {} more", section.more));
        }
    }
    lines.extend(compared.measures.iter().map(measure));
    lines
}

fn changed(change: &Change) -> Vec<String> {
    let entry = |sign: char, entry: &Entry| {
        format!(
            "  {sign} {:>5}  {}",
            entry.seq,
            brief(&clean(&entry.text), LONGEST)
        )
    };
    let (removed, added) = match change.kind {
        ChangeKind::Added => (None, change.right.as_ref()),
        ChangeKind::Removed => (change.left.as_ref(), None),
        ChangeKind::Changed => (change.left.as_ref(), change.right.as_ref()),
    };
    removed
        .map(|removed| entry('-', removed))
        .into_iter()
        .chain(added.map(|added| entry('+', added)))
        .collect()
}

fn measure(measure: &Measure) -> String {
    let amount = |amount: Option<Amount>| match amount {
        None => "-".to_owned(),
        Some(Amount { total, taken: 0 }) => total.to_string(),
        Some(Amount { total, taken }) => format!("{total} ({taken} from a record)"),
    };
    format!(
        "{:<20} {} | {} {}",
        clean(&measure.name),
        amount(measure.left),
        amount(measure.right),
        measure.unit
    )
}
