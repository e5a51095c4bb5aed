//! The public conformance suite of the Model Context Protocol, one scenario at a time.
//!
//! A table of a test crate names every scenario of a side with what is expected of it, each is a test of its own, and
//! [`check`] compares the table with what the suite itself lists and with what the page of the documentation says: a
//! scenario that appears, disappears or comes out otherwise turns a test red.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::tools::Tools;

/// The page that lists the scenarios.
const PAGE: &str = "docs/mcp-conformance.md";

/// Who is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A program that connects to a server of the suite's.
    Client,
    /// A server that the suite connects to.
    Server,
}

/// What is expected of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Every check is a success, and there is at least one.
    Passes,
    /// Nothing fails, and the suite says that it found nothing to check.
    NothingToCheck,
    /// The suite is content, for a reason that has nothing to do with what it asks.
    Vacuous,
    /// Something fails, as it must: what the scenario wants is not what is tested here.
    NotApplicable,
    /// Something fails, because what the scenario wants is not there yet.
    Missing,
}

impl Expected {
    /// What the page says.
    const fn word(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::NothingToCheck => "nothing to check",
            Self::Vacuous => "says nothing",
            Self::NotApplicable => "not applicable",
            Self::Missing => "missing",
        }
    }
}

/// What became of a scenario.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What each check came to: its name, its verdict and what was wrong.
    checks: Vec<(String, String, String)>,
    /// Whether the suite itself ended without an error.
    succeeded: bool,
    /// What it printed.
    said: String,
}

impl Tried {
    fn count(&self, word: &str) -> usize {
        let verdicts = self.checks.iter().map(|(_name, verdict, _why)| verdict);
        verdicts.filter(|verdict| *verdict == word).count()
    }

    /// Whether it came out like that.
    fn is(&self, expected: Expected) -> bool {
        let (good, bad) = (self.count("SUCCESS"), self.count("FAILURE"));
        let warned = self.count("WARNING");
        match expected {
            Expected::Passes | Expected::Vacuous => {
                self.succeeded && good > 0 && bad == 0 && warned == 0
            }
            Expected::NothingToCheck => self.succeeded && good == 0 && bad == 0,
            Expected::NotApplicable | Expected::Missing => !self.succeeded && bad > 0,
        }
    }

    /// Panics unless it came out as expected.
    ///
    /// # Panics
    ///
    /// If it did not, with what the suite said.
    pub fn must_be(&self, expected: Expected) {
        assert!(
            self.is(expected),
            "expected: {}; the checks: {:?}\n{}",
            expected.word(),
            self.checks,
            self.said
        );
    }
}

/// Tries a server at an address.
#[must_use]
pub fn server(scenario: &str, url: &str) -> Tried {
    let words = ["server", "--scenario", scenario, "--url", url];
    tried(suite(&Tools::installed()), &words)
}

/// Tries a client: a command that is given the address of the suite's server as its last argument.
#[must_use]
pub fn client(scenario: &str, command: &str) -> Tried {
    let words = ["client", "--scenario", scenario, "--command", command];
    tried(suite(&Tools::installed()), &words)
}

/// Tries a client at a protocol version that only the next release of the suite knows.
#[must_use]
pub fn client_at(version: &str, scenario: &str, command: &str) -> Tried {
    let words = ["client", "--scenario", scenario, "--command", command];
    let at = ["--spec-version", version];
    tried(suite(&Tools::next()), &[&words[..], &at].concat())
}

fn tried(mut suite: Command, words: &[&str]) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    suite.args(words).arg("--output-dir").arg(folder.path());
    let output = suite.output().unwrap();
    let mut files = vec![folder.path().to_owned()];
    let mut checks = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
        } else if path.file_name() == Some(OsStr::new("checks.json")) {
            let read: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let text = |check: &Value, name| check[name].as_str().unwrap_or_default().to_owned();
            let read = read.as_array().unwrap().iter();
            checks.extend(read.map(|check| {
                let [id, status, why] =
                    ["id", "status", "errorMessage"].map(|name| text(check, name));
                (id, status, why)
            }));
        }
    }
    // What it only tells of.
    checks.retain(|(_name, verdict, _why)| verdict != "INFO");
    Tried {
        checks,
        succeeded: output.status.success(),
        said: [output.stdout, output.stderr]
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .concat(),
    }
}

fn suite(tools: &Tools) -> Command {
    let mut suite = tools.command("conformance/dist/index.js");
    suite.stdin(Stdio::null()).env_remove("GITHUB_TOKEN");
    suite
}

/// Compares a table of expectations with what the suite lists, and with the page.
///
/// # Panics
///
/// If they differ.
pub fn check(side: Side, table: &[(&str, Expected)]) {
    let expected: BTreeMap<String, &str> = table
        .iter()
        .map(|(scenario, expected)| ((*scenario).to_owned(), expected.word()))
        .collect();
    assert_eq!(expected.len(), table.len(), "a scenario is there twice");
    let listed: Vec<String> = listed(side);
    let known: Vec<String> = expected.keys().cloned().collect();
    assert_eq!(listed, known, "what the suite has, and what is tried");
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let rows = rows(&page, side);
    let said: BTreeMap<String, &str> = rows
        .iter()
        .map(|(scenario, [result, _reason])| (scenario.clone(), result.as_str()))
        .collect();
    assert_eq!(said, expected, "what {PAGE} says, and what is expected");
    for (scenario, [result, reason]) in &rows {
        let needs_none = result == Expected::Passes.word();
        assert!(needs_none || !reason.is_empty(), "{scenario}: why?");
    }
}

/// The names of all scenarios of a side, in order.
fn listed(side: Side) -> Vec<String> {
    let mut list = suite(&Tools::installed());
    list.args(match side {
        Side::Client => ["list", "--client"],
        Side::Server => ["list", "--server"],
    });
    let output = list.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// The rows of the table below the heading of a side: the scenario, its result, the reason.
fn rows(page: &str, side: Side) -> BTreeMap<String, [String; 2]> {
    let heading = match side {
        Side::Client => "## The client",
        Side::Server => "## The server",
    };
    let section = page.lines().skip_while(|line| *line != heading).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let rows = section.filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let scenario = cells.next()?.trim_matches('`').to_owned();
        let [result, reason] = [(); 2].map(|()| cells.next().unwrap_or_default().to_owned());
        Some((scenario, [result, reason]))
    });
    cells
        .filter(|(scenario, _row)| scenario != "scenario")
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_up_to_the_next_heading() {
        let page = "# Page\n\n## The client\n\n| scenario | result | reason |\n|---|---|---|\n\
                    | `a/b` | passes | |\n| `c` | missing | one, *two* |\n\n## The server\n\n| `d` | passes | |\n";
        let rows = rows(page, Side::Client);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows["a/b"], ["passes".to_owned(), String::new()]);
        assert_eq!(rows["c"], ["missing".to_owned(), "one, *two*".to_owned()]);
    }

    #[test]
    fn only_what_was_checked_and_went_well_passes() {
        let tried = |verdicts: &[&str], succeeded| Tried {
            checks: verdicts
                .iter()
                .map(|verdict| (String::new(), (*verdict).to_owned(), String::new()))
                .collect(),
            succeeded,
            said: String::new(),
        };
        assert!(tried(&["SUCCESS"], true).is(Expected::Passes));
        assert!(!tried(&[], true).is(Expected::Passes));
        assert!(!tried(&["SUCCESS", "WARNING"], true).is(Expected::Passes));
        assert!(!tried(&["SUCCESS"], false).is(Expected::Passes));
        assert!(tried(&["WARNING"], true).is(Expected::NothingToCheck));
        assert!(!tried(&["SUCCESS"], true).is(Expected::NothingToCheck));
        assert!(tried(&["SUCCESS", "FAILURE"], false).is(Expected::NotApplicable));
        assert!(!tried(&["SUCCESS"], true).is(Expected::Missing));
        // A suite that could not even begin says nothing of anybody.
        assert!(!tried(&[], false).is(Expected::NotApplicable));
    }
}
