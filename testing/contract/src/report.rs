//! What running a whole suite comes to.

mod json;
mod table;
mod verdict;

use seaworthy_ports::AdapterInfo;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::outcome::Violation;

pub use verdict::{Counts, Verdict};

/// The version of what a report is as JSON. Fields may be added to one version, never renamed or removed.
pub const REPORT_SCHEMA: u32 = 1;

/// The adapter that was tried, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its id, such as `sqlite`.
    pub id: &'static str,
    /// The package that holds it.
    pub package: &'static str,
    /// That package's version.
    pub version: &'static str,
    /// What it declares, by name; empty where its port leaves no choice.
    pub capabilities: Map<String, Value>,
}

impl Adapter {
    /// The adapter of this name, which declares nothing.
    #[must_use]
    pub fn new(info: AdapterInfo) -> Self {
        Self {
            id: info.id,
            package: info.package,
            version: info.version,
            capabilities: Map::new(),
        }
    }

    /// With what it declares: the capabilities of its port, which are a structure of named values.
    #[must_use]
    pub fn declaring(mut self, capabilities: impl Serialize) -> Self {
        if let Ok(Value::Object(named)) = serde_json::to_value(capabilities) {
            self.capabilities = named;
        }
        self
    }
}

/// How much of a port an adapter was seen to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Some scenario failed.
    Broken,
    /// Nothing failed, but a clause that applies was not seen to hold: none of its scenarios could be checked.
    Partial,
    /// Every clause was seen to hold, or belongs to a capability that is truthfully not declared.
    Full,
}

impl Level {
    /// Its name, as JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }
}

/// How a clause stands after all of its scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// At least one scenario passed and none failed. [`Counts`] tells whether some could not be checked.
    Passed,
    /// No scenario passed or failed: the capability it belongs to is not declared.
    NotDeclared,
    /// No scenario passed or failed: none could be checked.
    NotCheckable,
    /// At least one scenario failed.
    Failed,
}

impl Standing {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotDeclared => "not declared",
            Self::NotCheckable => "not checkable",
            Self::Failed => "FAILED",
        }
    }

    const fn of(counts: Counts) -> Self {
        if counts.failed > 0 {
            Self::Failed
        } else if counts.passed > 0 {
            Self::Passed
        } else if counts.not_declared > 0 {
            Self::NotDeclared
        } else {
            Self::NotCheckable
        }
    }
}

/// What became of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The clause, such as `SS-3`.
    pub clause: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What became of its scenarios.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of every scenario of a port, in the order of the list.
///
/// As JSON it is an object with `schema` ([`REPORT_SCHEMA`]), `port`, `adapter`, `level`, `counts`, `clauses` and
/// `verdicts`; as text, a table for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The port, such as `state_store`.
    pub port: &'static str,
    /// The adapter. `None`: no harness could be started.
    pub adapter: Option<Adapter>,
    /// One verdict for each scenario.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// The report of a suite that has not begun.
    #[must_use]
    pub const fn new(port: &'static str) -> Self {
        Self {
            port,
            adapter: None,
            verdicts: Vec::new(),
        }
    }

    /// Takes in what became of one scenario and, the first time, which adapter it was.
    pub fn add(&mut self, adapter: Option<Adapter>, verdict: Verdict) {
        if self.adapter.is_none() {
            self.adapter = adapter;
        }
        self.verdicts.push(verdict);
    }

    /// The same report, where each scenario of `excluded` that did not come to a judgement tells the reason given there.
    #[must_use]
    pub fn with_reasons(mut self, excluded: &[(&str, &'static str)]) -> Self {
        for verdict in &mut self.verdicts {
            let listed = excluded
                .iter()
                .find(|(scenario, _reason)| *scenario == verdict.scenario());
            if let Some((_scenario, reason)) = listed {
                verdict.explain(reason);
            }
        }
        self
    }

    /// Every clause once, in the order in which the list first names it.
    #[must_use]
    pub fn clauses(&self) -> Vec<Clause> {
        let mut clauses: Vec<(&'static str, Counts)> = Vec::new();
        for verdict in &self.verdicts {
            let known = clauses
                .iter_mut()
                .find(|(clause, _counts)| *clause == verdict.clause());
            if let Some((_clause, counts)) = known {
                counts.count(verdict);
            } else {
                let mut counts = Counts::default();
                counts.count(verdict);
                clauses.push((verdict.clause(), counts));
            }
        }
        let finished = clauses.into_iter().map(|(clause, counts)| Clause {
            clause,
            standing: Standing::of(counts),
            counts,
        });
        finished.collect()
    }

    /// The broken clauses, each once, in the order of their numbers.
    #[must_use]
    pub fn broken_clauses(&self) -> Vec<&'static str> {
        let mut broken: Vec<&'static str> = self
            .clauses()
            .into_iter()
            .filter(|clause| clause.standing == Standing::Failed)
            .map(|clause| clause.clause)
            .collect();
        broken.sort_by_key(|clause| {
            let (letters, number) = clause.split_once('-').unwrap_or((clause, ""));
            (letters, number.parse::<u32>().unwrap_or(u32::MAX))
        });
        broken
    }

    /// Every violation.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Failed(violation) => Some(violation),
            Verdict::Passed { .. } | Verdict::NotDeclared { .. } | Verdict::NotCheckable { .. } => {
                None
            }
        })
    }

    /// How many scenarios came to what.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for verdict in &self.verdicts {
            counts.count(verdict);
        }
        counts
    }

    /// How much of the port was seen to be kept. A suite that tried nothing saw nothing.
    #[must_use]
    pub fn level(&self) -> Level {
        let clauses = self.clauses();
        let any = |standing| clauses.iter().any(|clause| clause.standing == standing);
        if any(Standing::Failed) {
            Level::Broken
        } else if clauses.is_empty() || any(Standing::NotCheckable) {
            Level::Partial
        } else {
            Level::Full
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(clause: &'static str) -> Verdict {
        Verdict::Passed {
            clause,
            scenario: "it_holds",
        }
    }

    fn not_declared(clause: &'static str) -> Verdict {
        Verdict::NotDeclared {
            clause,
            scenario: "it_may_hold",
            capability: "watch",
            reason: "it is not there",
        }
    }

    fn not_checkable(clause: &'static str) -> Verdict {
        Verdict::NotCheckable {
            clause,
            scenario: "it_cannot_be_seen",
            reason: "nobody can look",
        }
    }

    fn failed(clause: &'static str) -> Verdict {
        Verdict::Failed(Violation {
            clause,
            scenario: "it_does_not_hold",
            did: "tried".to_owned(),
            expected: "one".to_owned(),
            seen: "two".to_owned(),
        })
    }

    fn report<const N: usize>(verdicts: [Verdict; N]) -> Report {
        let mut report = Report::new("state_store");
        for verdict in verdicts {
            report.add(
                Some(Adapter {
                    id: "ours",
                    package: "seaworthy-ours",
                    version: "1.2.3",
                    capabilities: Map::from_iter([
                        ("watch".to_owned(), Value::Bool(false)),
                        ("durability".to_owned(), Value::from("os_crash")),
                    ]),
                }),
                verdict,
            );
        }
        report
    }

    #[test]
    fn a_clause_stands_by_the_worst_and_else_the_best_of_its_scenarios() {
        let standing = |report: Report| report.clauses()[0].standing;
        assert_eq!(
            standing(report([passed("A"), failed("A"), passed("A")])),
            Standing::Failed
        );
        assert_eq!(
            standing(report([not_checkable("A"), passed("A")])),
            Standing::Passed
        );
        assert_eq!(
            standing(report([not_checkable("A"), not_declared("A")])),
            Standing::NotDeclared
        );
        assert_eq!(
            standing(report([not_checkable("A")])),
            Standing::NotCheckable
        );
    }

    #[test]
    fn a_report_is_full_only_if_every_clause_was_seen_or_is_truthfully_undeclared() {
        let level = |report: Report| report.level();
        assert_eq!(
            level(report([passed("A"), not_checkable("A"), not_declared("B")])),
            Level::Full
        );
        assert_eq!(
            level(report([passed("A"), not_checkable("B")])),
            Level::Partial
        );
        assert_eq!(
            level(report([passed("A"), not_checkable("B"), failed("A")])),
            Level::Broken
        );
        assert_eq!(level(report([])), Level::Partial);
    }

    #[test]
    fn a_clause_that_comes_again_later_in_the_list_is_named_once() {
        let report = report([failed("A"), failed("B"), failed("A")]);
        assert_eq!(report.broken_clauses(), ["A", "B"]);
        assert_eq!(report.counts().failed, 3);
    }

    #[test]
    fn the_reason_of_an_exclusion_is_the_one_that_is_shown() {
        let report = report([passed("A"), not_declared("B"), not_checkable("C")]).with_reasons(&[
            ("it_may_hold", "it lives in memory"),
            ("it_holds", "no reason at all"),
        ]);
        let shown = report.to_string();
        assert!(
            shown.contains("not declared (watch)  it may hold: it lives in memory"),
            "{shown}"
        );
        assert!(shown.contains("nobody can look"), "{shown}");
        assert!(!shown.contains("no reason at all"), "{shown}");
    }

    #[test]
    fn a_report_as_json_has_the_members_it_promises() {
        let report = report([passed("A"), not_declared("B"), failed("A")]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "schema": 1,
                "port": "state_store",
                "adapter": {
                    "id": "ours",
                    "package": "seaworthy-ours",
                    "version": "1.2.3",
                    "capabilities": { "watch": false, "durability": "os_crash" },
                },
                "level": "broken",
                "counts": { "passed": 1, "failed": 1, "not_declared": 1, "not_checkable": 0 },
                "clauses": [
                    { "clause": "A", "standing": "failed", "passed": 1, "failed": 1, "not_declared": 0, "not_checkable": 0 },
                    { "clause": "B", "standing": "not_declared", "passed": 0, "failed": 0, "not_declared": 1, "not_checkable": 0 },
                ],
                "verdicts": [
                    { "verdict": "passed", "clause": "A", "scenario": "it_holds" },
                    { "verdict": "not_declared", "clause": "B", "scenario": "it_may_hold", "capability": "watch", "reason": "it is not there" },
                    { "verdict": "failed", "clause": "A", "scenario": "it_does_not_hold", "did": "tried", "expected": "one", "seen": "two" },
                ],
            })
        );
    }

    #[test]
    fn the_table_tells_of_the_adapter_every_clause_and_the_level() {
        let shown = report([passed("A"), not_declared("B"), failed("A")]).to_string();
        assert!(
            shown.starts_with("state_store: ours (seaworthy-ours 1.2.3)\n"),
            "{shown}"
        );
        assert!(shown.contains("declares: durability=os_crash\n"), "{shown}");
        assert!(shown.contains("A is broken: it does not hold"), "{shown}");
        assert!(
            shown.ends_with("level: broken (1 passed, 1 failed, 1 not declared, 0 not checkable)"),
            "{shown}"
        );
    }
}
