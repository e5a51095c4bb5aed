//! The verdicts of contract tests, from their files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;
use crate::workspace;

/// The version of the files that is understood here.
const SCHEMA: u64 = 1;

/// How a scenario ended, or how a clause stands after all of its scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    Passed,
    NotDeclared,
    NotCheckable,
    Failed,
}

impl Word {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "passed" => Self::Passed,
            "not_declared" => Self::NotDeclared,
            "not_checkable" => Self::NotCheckable,
            "failed" => Self::Failed,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotDeclared => "not declared",
            Self::NotCheckable => "not checkable",
            Self::Failed => "**failed**",
        }
    }
}

/// What became of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) clause: String,
    pub(super) word: Word,
    /// Why it came to no judgement; of what passed or failed there is none.
    pub(super) reason: Option<String>,
    /// What is not declared.
    pub(super) capability: Option<String>,
}

/// An adapter with a harness, tried with the suite of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) package: String,
    pub(super) harness: String,
    /// Its id. Empty where no harness could be started.
    pub(super) adapter: String,
    /// What it declares.
    pub(super) declares: Vec<String>,
    /// By the scenario.
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// What the suite has.
    pub(super) listed: BTreeSet<String>,
}

impl Tried {
    /// How the clause stands; `None` where no scenario belongs to it.
    pub(super) fn standing(&self, clause: &str) -> Option<Word> {
        let words: BTreeSet<Word> = self
            .verdicts
            .values()
            .filter(|verdict| verdict.clause == clause)
            .map(|verdict| verdict.word)
            .collect();
        let order = [
            Word::Failed,
            Word::Passed,
            Word::NotDeclared,
            Word::NotCheckable,
        ];
        order.into_iter().find(|word| words.contains(word))
    }

    /// The level, by the rule of the suites' crate: broken if something failed, partial if a clause that applies was not
    /// seen to hold, else full.
    pub(super) fn level(&self) -> &'static str {
        let clauses: BTreeSet<&str> = self
            .verdicts
            .values()
            .map(|verdict| verdict.clause.as_str())
            .collect();
        let any = |word| {
            clauses
                .iter()
                .any(|clause| self.standing(clause) == Some(word))
        };
        if any(Word::Failed) {
            "**broken**"
        } else if clauses.is_empty() || any(Word::NotCheckable) {
            "partial"
        } else {
            "full"
        }
    }

    pub(super) fn count(&self, word: Word) -> usize {
        self.verdicts
            .values()
            .filter(|verdict| verdict.word == word)
            .count()
    }
}

/// Everything that was tried, by port.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found(pub(super) BTreeMap<String, Vec<Tried>>);

impl Found {
    /// What is missing: the verdict of a scenario, or a crate as a whole.
    pub(super) fn gaps(&self, packages: &BTreeSet<String>) -> Vec<String> {
        let mut gaps = Vec::new();
        let all = || {
            self.0
                .iter()
                .flat_map(|(port, tried)| tried.iter().map(move |one| (port, one)))
        };
        for package in packages {
            if !all().any(|(_port, one)| one.package == *package) {
                gaps.push(format!("{package}: no contract test left a verdict"));
            }
        }
        for (port, one) in all() {
            let Tried {
                package, harness, ..
            } = one;
            if one.listed.is_empty() {
                gaps.push(format!(
                    "{package}, {harness}: the list of {port} is missing"
                ));
            }
            for scenario in one
                .listed
                .iter()
                .filter(|name| !one.verdicts.contains_key(*name))
            {
                gaps.push(format!(
                    "{package}, {harness}: {port}::{scenario} left no verdict"
                ));
            }
        }
        gaps
    }
}

/// Reads the files of `folder` that are about `packages`.
pub(super) fn collect(folder: &Path, packages: &BTreeSet<String>) -> Result<Found, Failure> {
    let mut found: BTreeMap<(String, String, String), Tried> = BTreeMap::new();
    for path in workspace::files(folder, "json")? {
        let unreadable = |why: String| Failure::new(format!("{}: {why}", path.display()));
        let file: Value = serde_json::from_str(&workspace::read(&path)?)
            .map_err(|error| unreadable(error.to_string()))?;
        let package = text(&file, "package").ok_or_else(|| unreadable("no package".to_owned()))?;
        if packages.contains(&package) {
            take(&mut found, package, &file).map_err(|why| unreadable(why.to_owned()))?;
        }
    }
    let mut by_port: BTreeMap<String, Vec<Tried>> = BTreeMap::new();
    for ((port, _package, _harness), tried) in found {
        by_port.entry(port).or_default().push(tried);
    }
    for tried in by_port.values_mut() {
        tried.sort_by(|a, b| (&a.adapter, &a.harness).cmp(&(&b.adapter, &b.harness)));
    }
    Ok(Found(by_port))
}

/// Takes one file in.
fn take(
    found: &mut BTreeMap<(String, String, String), Tried>,
    package: String,
    file: &Value,
) -> Result<(), &'static str> {
    if file.get("schema").and_then(Value::as_u64) != Some(SCHEMA) {
        return Err("it is of another version");
    }
    let harness = text(file, "harness").ok_or("no harness")?;
    let port = text(file, "port").ok_or("no port")?;
    let kind = text(file, "kind").ok_or("no kind")?;
    let tried = found
        .entry((port, package.clone(), harness.clone()))
        .or_default();
    tried.package = package;
    tried.harness = harness;
    match kind.as_str() {
        "suite" => {
            let listed = file.get("scenarios").and_then(Value::as_array);
            for one in listed.ok_or("no scenarios")? {
                tried
                    .listed
                    .insert(text(one, "scenario").ok_or("no scenario")?);
            }
        }
        "verdict" => {
            let word = text(file, "verdict").and_then(|word| Word::parse(&word));
            let verdict = Verdict {
                clause: text(file, "clause").ok_or("no clause")?,
                word: word.ok_or("no verdict")?,
                reason: text(file, "reason"),
                capability: text(file, "capability"),
            };
            let scenario = text(file, "scenario").ok_or("no scenario")?;
            tried.verdicts.insert(scenario, verdict);
            if let Some(adapter) = file.get("adapter").filter(|adapter| adapter.is_object()) {
                tried.adapter = text(adapter, "id").ok_or("no id of the adapter")?;
                tried.declares = declared(adapter);
            }
        }
        // A whole report, which somebody asked for.
        _ => {}
    }
    Ok(())
}

fn declared(adapter: &Value) -> Vec<String> {
    let capabilities = adapter.get("capabilities").and_then(Value::as_object);
    let declared = capabilities
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| match value {
            Value::Bool(true) => Some(name.clone()),
            Value::Bool(false) | Value::Null => None,
            Value::String(text) => Some(format!("{name}={text}")),
            other => Some(format!("{name}={other}")),
        });
    let mut declared: Vec<String> = declared.collect();
    declared.sort();
    declared
}

fn text(object: &Value, member: &str) -> Option<String> {
    object.get(member)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn packages() -> BTreeSet<String> {
        BTreeSet::from(["seaworthy-ours".to_owned()])
    }

    /// What is collected of these files.
    fn collected(files: &[Value]) -> Result<Found, Failure> {
        let folder = tempfile::tempdir().unwrap();
        for (number, file) in files.iter().enumerate() {
            std::fs::write(
                folder.path().join(format!("{number}.json")),
                file.to_string(),
            )
            .unwrap();
        }
        collect(folder.path(), &packages())
    }

    fn file(package: &str, clause: &str, scenario: &str, verdict: &str) -> Value {
        json!({
            "schema": 1, "kind": "verdict", "package": package, "harness": "Ours", "port": "clock",
            "adapter": { "id": "ours", "capabilities": { "watch": true, "far": false } },
            "verdict": verdict, "clause": clause, "scenario": scenario, "reason": "it is so",
        })
    }

    fn suite(scenarios: &[&str]) -> Value {
        let scenarios: Vec<Value> = scenarios
            .iter()
            .map(|name| json!({ "clause": "CL-1", "scenario": name }))
            .collect();
        json!({
            "schema": 1, "kind": "suite", "package": "seaworthy-ours", "harness": "Ours", "port": "clock",
            "scenarios": scenarios,
        })
    }

    #[test]
    fn verdicts_of_adapters_are_collected_and_those_of_other_crates_are_not() {
        let found = collected(&[
            file("seaworthy-ours", "CL-1", "a", "passed"),
            file("seaworthy-contract", "CL-1", "b", "failed"),
            suite(&["a"]),
        ])
        .unwrap();
        assert_eq!(found.gaps(&packages()), [""; 0]);
        let one = &found.0["clock"][0];
        assert_eq!((one.adapter.as_str(), one.level()), ("ours", "full"));
        assert_eq!(one.declares, ["watch"]);
        assert_eq!(one.count(Word::Passed), 1);
    }

    #[test]
    fn what_left_no_verdict_is_a_gap() {
        let found = collected(&[
            file("seaworthy-ours", "CL-1", "a", "passed"),
            suite(&["a", "b"]),
        ])
        .unwrap();
        assert_eq!(found.gaps(&packages()).len(), 1);
        let without_list = collected(&[file("seaworthy-ours", "CL-1", "a", "passed")]).unwrap();
        assert_eq!(without_list.gaps(&packages()).len(), 1);
        assert_eq!(collected(&[]).unwrap().gaps(&packages()).len(), 1);
    }

    #[test]
    fn a_clause_stands_by_its_worst_and_else_by_its_best_scenario() {
        let standing = |words: &[&str]| {
            let files: Vec<Value> = words
                .iter()
                .enumerate()
                .map(|(number, word)| file("seaworthy-ours", "CL-1", &number.to_string(), word))
                .collect();
            let found = collected(&files).unwrap();
            let one = found.0["clock"][0].clone();
            (one.standing("CL-1").unwrap(), one.level())
        };
        assert_eq!(
            standing(&["passed", "failed"]),
            (Word::Failed, "**broken**")
        );
        assert_eq!(
            standing(&["not_checkable", "passed"]),
            (Word::Passed, "full")
        );
        assert_eq!(
            standing(&["not_checkable", "not_declared"]),
            (Word::NotDeclared, "full")
        );
        assert_eq!(
            standing(&["not_checkable"]),
            (Word::NotCheckable, "partial")
        );
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let good = file("seaworthy-ours", "CL-1", "a", "passed");
        for (member, value) in [
            ("schema", json!(2)),
            ("verdict", json!("perhaps")),
            ("port", json!(null)),
        ] {
            let mut file = good.clone();
            file[member] = value;
            assert!(collected(&[file]).is_err(), "{member}");
        }
    }
}
