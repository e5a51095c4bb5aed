//! Two runs held against each other, section by section.
//!
//! What two ways to the same end may differ in does not count: ids, times, what providers mark for themselves, and whether
//! something was done or taken from a record. Sequences are aligned first, so that one call more does not make everything
//! behind it different.

use seaworthy_ports::RunId;
use seaworthy_ports::state_store::Seq;
use serde::Serialize;

use crate::harness::{Harness, HarnessError};

mod align;
mod told;

use align::{Pair, align};
use told::{Item, Told};

use crate::replay::{excerpt, parting};

/// The most changes that a section lists.
pub const MAX_CHANGES: usize = 50;

/// A part of what a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SectionName {
    /// What models answered, and which.
    ModelCalls,
    /// The calls that were asked for: tool and arguments.
    ToolCalls,
    /// What became of them.
    Results,
    /// The conversation.
    Messages,
    /// How the run ended, and its answer.
    Answer,
}

impl SectionName {
    /// The section's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelCalls => "model_calls",
            Self::ToolCalls => "tool_calls",
            Self::Results => "results",
            Self::Messages => "messages",
            Self::Answer => "answer",
        }
    }
}

/// Two runs held against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The one.
    pub left: RunId,
    /// The other.
    pub right: RunId,
    /// Whether no section has a change. Measures do not count.
    pub same: bool,
    /// The first change in the order in which runs go.
    pub first: Option<Divergence>,
    /// Every section.
    pub sections: Vec<Section>,
    /// What it took.
    pub measures: Vec<Measure>,
}

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// How many answers the model had given.
    pub answers: usize,
    /// In which section.
    pub section: SectionName,
    /// The change.
    pub change: Change,
}

/// A section of two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Which.
    pub section: SectionName,
    /// How many entries the one has.
    pub left: usize,
    /// How many the other has.
    pub right: usize,
    /// The first [`MAX_CHANGES`] changes, in order.
    pub changes: Vec<Change>,
    /// How many more there are.
    pub more: usize,
}

/// How an entry changed from the one run to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Only the other has it.
    Added,
    /// Only the one has it.
    Removed,
    /// Both have one there, and they differ.
    Changed,
}

/// An entry that only one run has, or that both have and that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How it changed.
    pub kind: ChangeKind,
    /// In the one.
    pub left: Option<Entry>,
    /// In the other.
    pub right: Option<Entry>,
}

/// An entry of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The record that made it.
    pub seq: Seq,
    /// Its beginning, or what is around the first difference.
    pub text: String,
}

/// What a run took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// What is measured, such as `output_tokens`, `cost_usd` or `model_time`.
    pub name: String,
    /// In what: `tokens`, `micros` (millionths of a currency's unit), `ms`.
    pub unit: &'static str,
    /// Of the one; `None`: nobody said.
    pub left: Option<Amount>,
    /// Of the other.
    pub right: Option<Amount>,
}

/// How much of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// All of it, as if the run had done everything itself.
    pub total: u64,
    /// The part that was taken from a record, so that this run did not use it.
    pub taken: u64,
}

impl Harness {
    /// Holds two runs against each other, as far as their logs go.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`]; a failing store, or a corrupt log.
    pub async fn compare(&self, left: &RunId, right: &RunId) -> Result<Comparison, HarnessError> {
        let (one, other) = (
            Told::read(self, left).await?,
            Told::read(self, right).await?,
        );
        let mut first: Option<Divergence> = None;
        let mut sections = Vec::new();
        for section in [
            SectionName::ModelCalls,
            SectionName::ToolCalls,
            SectionName::Results,
            SectionName::Messages,
            SectionName::Answer,
        ] {
            let (left, right) = (one.section(section), other.section(section));
            let pairs = align(left, right);
            // Sections come in the order of a turn, so the first of a turn is found first.
            if let Some(pair) = pairs.first() {
                let answers = pair.answers(left, right);
                if first.as_ref().is_none_or(|first| answers < first.answers)
                    && let Some(change) = change(pair, left, right)
                {
                    first = Some(Divergence {
                        answers,
                        section,
                        change,
                    });
                }
            }
            sections.push(Section {
                section,
                left: left.len(),
                right: right.len(),
                changes: pairs
                    .iter()
                    .take(MAX_CHANGES)
                    .filter_map(|pair| change(pair, left, right))
                    .collect(),
                more: pairs.len().saturating_sub(MAX_CHANGES),
            });
        }
        Ok(Comparison {
            left: left.clone(),
            right: right.clone(),
            same: first.is_none(),
            first,
            sections,
            measures: measures(&one, &other),
        })
    }
}

fn change(pair: &Pair, left: &[Item], right: &[Item]) -> Option<Change> {
    let entry = |item: &Item, text: String| Entry {
        seq: item.seq,
        text,
    };
    Some(match *pair {
        Pair::Removed(place) => {
            let item = left.get(place)?;
            Change {
                kind: ChangeKind::Removed,
                left: Some(entry(item, excerpt(&item.text))),
                right: None,
            }
        }
        Pair::Added(place) => {
            let item = right.get(place)?;
            Change {
                kind: ChangeKind::Added,
                left: None,
                right: Some(entry(item, excerpt(&item.text))),
            }
        }
        Pair::Changed(one, other) => {
            let (one, other) = (left.get(one)?, right.get(other)?);
            let (before, after) = parting(&one.text, &other.text);
            Change {
                kind: ChangeKind::Changed,
                left: Some(entry(one, before)),
                right: Some(entry(other, after)),
            }
        }
    })
}

fn measures(left: &Told, right: &Told) -> Vec<Measure> {
    let names: std::collections::BTreeMap<&String, &'static str> = left
        .measures
        .iter()
        .chain(&right.measures)
        .map(|(name, (unit, _amount))| (name, *unit))
        .collect();
    let of = |told: &Told, name: &String| told.measures.get(name).map(|(_unit, amount)| *amount);
    names
        .into_iter()
        .map(|(name, unit)| Measure {
            name: name.clone(),
            unit,
            left: of(left, name),
            right: of(right, name),
        })
        .collect()
}
