//! A report for people.

use std::fmt;

use serde_json::Value;

use super::{Adapter, Counts, Report, Verdict};
use crate::outcome::Violation;

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.id, self.package, self.version)
    }
}

impl Adapter {
    /// What it declares; what it does not is left out.
    fn declared(&self) -> Vec<String> {
        let declared = self
            .capabilities
            .iter()
            .filter_map(|(name, value)| match value {
                Value::Bool(true) => Some(name.clone()),
                Value::Bool(false) | Value::Null => None,
                Value::String(text) => Some(format!("{name}={text}")),
                other => Some(format!("{name}={other}")),
            });
        declared.collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            not_declared,
            not_checkable,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed, {not_declared} not declared, {not_checkable} not checkable"
        )
    }
}

/// A line without the clause, which stands above.
fn line(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let sentence = verdict.scenario().replace('_', " ");
    match verdict {
        Verdict::Passed { .. } => writeln!(f, "    passed  {sentence}"),
        Verdict::Failed(Violation { .. }) => writeln!(f, "    FAILED  {sentence}"),
        Verdict::NotDeclared {
            capability, reason, ..
        } => writeln!(f, "    not declared ({capability})  {sentence}: {reason}"),
        Verdict::NotCheckable { reason, .. } => {
            writeln!(f, "    not checkable  {sentence}: {reason}")
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.adapter {
            Some(adapter) => {
                writeln!(f, "{}: {adapter}", self.port)?;
                let declared = adapter.declared();
                if !declared.is_empty() {
                    writeln!(f, "declares: {}", declared.join(", "))?;
                }
            }
            None => writeln!(f, "{}: no harness could be started", self.port)?,
        }
        writeln!(f)?;
        for clause in self.clauses() {
            writeln!(f, "{:<6} {}", clause.clause, clause.standing.name())?;
            for verdict in &self.verdicts {
                if verdict.clause() == clause.clause {
                    line(f, verdict)?;
                }
            }
        }
        writeln!(f)?;
        for violation in self.violations() {
            writeln!(f, "{violation}\n")?;
        }
        write!(f, "level: {} ({})", self.level().name(), self.counts())
    }
}
