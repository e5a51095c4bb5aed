//! The page, the same from the same verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::collect::{Found, Tried, Word};

const HEAD: &str = "# Conformance

Which adapter was seen to keep which clause of its port. `cargo xtask conformance` writes this page from the verdicts of the adapters' contract tests, and `cargo xtask test` compares it with them: do not edit it. What the words and the levels mean, and what no suite can see, is in [contract tests](contract-tests.md). What the public suite of the Model Context Protocol says, scenario by scenario, is in [a page of its own](mcp-conformance.md), which tests compare as well.

";

const WORDS: [Word; 4] = [
    Word::Passed,
    Word::NotDeclared,
    Word::NotCheckable,
    Word::Failed,
];

/// The page about all ports and their clauses.
pub(super) fn render(ports: &BTreeMap<String, BTreeSet<String>>, found: &Found) -> String {
    let mut page = HEAD.to_owned();
    let mut notes = Vec::new();
    let none = Vec::new();
    levels(&mut page, ports, found);
    for (port, clauses) in ports {
        let tried = found.0.get(port).unwrap_or(&none);
        if !tried.is_empty() {
            matrix(&mut page, &mut notes, port, clauses, tried);
        }
    }
    if !notes.is_empty() {
        page.push('\n');
    }
    for (number, note) in (1..).zip(notes) {
        let _infallible = writeln!(page, "[^{number}]: {note}");
    }
    page
}

/// A line for each port and adapter, also where there is none.
fn levels(page: &mut String, ports: &BTreeMap<String, BTreeSet<String>>, found: &Found) {
    page.push_str("The figures count scenarios. A port without a line of figures has no adapter here that runs its suite.\n\n");
    page.push_str("| port | adapter | level | passed | not declared | not checkable | failed |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for port in ports.keys() {
        let link = link(port);
        let tried = found.0.get(port).map(Vec::as_slice).unwrap_or_default();
        for one in tried {
            let counts = WORDS.map(|word| one.count(word).to_string()).join(" | ");
            let _infallible = writeln!(
                page,
                "| {link} | {} | {} | {counts} |",
                column(one, tried),
                one.level()
            );
        }
        if tried.is_empty() {
            let _infallible = writeln!(page, "| {link} | none | | | | | |");
        }
    }
}

/// A line for each clause, a column for each adapter.
fn matrix(
    page: &mut String,
    notes: &mut Vec<String>,
    port: &str,
    clauses: &BTreeSet<String>,
    tried: &[Tried],
) {
    let _infallible = writeln!(page, "\n## {}\n", camel(port));
    for one in tried {
        let declares = if one.declares.is_empty() {
            "nothing".to_owned()
        } else {
            one.declares.join(", ")
        };
        let _infallible = writeln!(
            page,
            "- {} of `{}` declares {declares}.",
            column(one, tried),
            one.package
        );
    }
    let columns: Vec<String> = tried.iter().map(|one| column(one, tried)).collect();
    let _infallible = writeln!(page, "\n| clause | {} |", columns.join(" | "));
    let _infallible = writeln!(page, "|---|{}", "---|".repeat(columns.len()));
    let named = tried.iter().flat_map(|one| one.verdicts.values());
    // A scenario may be about several clauses at once; it has a line of its own.
    let rows: BTreeSet<Row> = clauses
        .iter()
        .chain(named.map(|verdict| &verdict.clause))
        .map(|clause| Row::of(clause))
        .collect();
    for Row { clause, .. } in rows {
        let cells: Vec<String> = tried
            .iter()
            .zip(&columns)
            .map(|(one, column)| cell(notes, &clause, one, column))
            .collect();
        let _infallible = writeln!(page, "| {clause} | {} |", cells.join(" | "));
    }
}

/// How the clause stands, with a note on what was not checked.
fn cell(notes: &mut Vec<String>, clause: &str, tried: &Tried, column: &str) -> String {
    let Some(standing) = tried.standing(clause) else {
        return "no scenario".to_owned();
    };
    let unchecked: Vec<String> = tried
        .verdicts
        .iter()
        .filter(|(_scenario, verdict)| verdict.clause == clause)
        .filter_map(|(scenario, verdict)| {
            let reason = verdict.reason.as_ref()?;
            let sentence = scenario.replace('_', " ");
            Some(match &verdict.capability {
                Some(capability) => {
                    format!("*{sentence}* ({capability} is not declared): {reason}")
                }
                None => format!("*{sentence}*: {reason}"),
            })
        })
        .collect();
    if unchecked.is_empty() {
        return standing.name().to_owned();
    }
    notes.push(format!("{clause}, {column}: {}.", unchecked.join("; ")));
    format!("{}[^{}]", standing.name(), notes.len())
}

/// The adapter's id; with its harness where it has several.
fn column(one: &Tried, tried: &[Tried]) -> String {
    let is_alone = tried
        .iter()
        .filter(|other| other.adapter == one.adapter)
        .count()
        == 1;
    if is_alone {
        one.adapter.clone()
    } else {
        format!("{} (`{}`)", one.adapter, one.harness)
    }
}

/// A clause in its place: by letters and number, and what is about several at the end.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    is_several: bool,
    letters: String,
    number: u32,
    clause: String,
}

impl Row {
    fn of(clause: &str) -> Self {
        let (letters, number) = clause.split_once('-').unwrap_or((clause, ""));
        Self {
            is_several: number.parse::<u32>().is_err(),
            letters: letters.to_owned(),
            number: number.parse().unwrap_or_default(),
            clause: clause.to_owned(),
        }
    }
}

/// `state_store` as its trait is called.
fn camel(port: &str) -> String {
    port.split('_')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect()
}

fn link(port: &str) -> String {
    format!("[{}](ports/{}.md)", camel(port), port.replace('_', "-"))
}

/// The lines in which the page and what it should be differ; the first few.
pub(super) fn differences(written: &str, rendered: &str) -> Vec<String> {
    const SHOWN: usize = 20;
    const LONGEST: usize = 200;
    let (old, new): (Vec<&str>, Vec<&str>) =
        (written.lines().collect(), rendered.lines().collect());
    let lines = 0..old.len().max(new.len());
    let shown = |line: Option<&&str>| match line {
        Some(line) if line.chars().count() > LONGEST => {
            format!("`{}…`", line.chars().take(LONGEST).collect::<String>())
        }
        Some(line) => format!("`{line}`"),
        None => "nothing".to_owned(),
    };
    lines
        .filter(|at| old.get(*at) != new.get(*at))
        .take(SHOWN)
        .map(|at| {
            format!(
                "docs/conformance.md:{}: {}, and the tests say {}",
                at + 1,
                shown(old.get(at)),
                shown(new.get(at))
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::collect::Verdict;
    use super::*;

    fn tried(adapter: &str, harness: &str, verdicts: &[(&str, &str, Word)]) -> Tried {
        let verdicts = verdicts.iter().map(|(clause, scenario, word)| {
            let verdict = Verdict {
                clause: (*clause).to_owned(),
                word: *word,
                reason: matches!(word, Word::NotDeclared | Word::NotCheckable)
                    .then(|| "it lives in memory".to_owned()),
                capability: (*word == Word::NotDeclared).then(|| "durability".to_owned()),
            };
            ((*scenario).to_owned(), verdict)
        });
        Tried {
            package: format!("seaworthy-{adapter}"),
            harness: harness.to_owned(),
            adapter: adapter.to_owned(),
            verdicts: verdicts.collect(),
            ..Tried::default()
        }
    }

    fn ports() -> BTreeMap<String, BTreeSet<String>> {
        let clauses = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        BTreeMap::from([
            ("mcp".to_owned(), clauses(&["MC-1"])),
            (
                "state_store".to_owned(),
                clauses(&["SS-1", "SS-2", "SS-10"]),
            ),
        ])
    }

    fn page(tried: Vec<Tried>) -> String {
        render(
            &ports(),
            &Found(BTreeMap::from([("state_store".to_owned(), tried)])),
        )
    }

    #[test]
    fn every_clause_has_a_line_and_every_adapter_a_column() {
        let page = page(vec![
            tried(
                "memory",
                "Logs",
                &[
                    ("SS-10", "it_survives", Word::NotDeclared),
                    ("SS-2", "it_holds", Word::Passed),
                    ("SS-2", "it_cannot_be_seen", Word::NotCheckable),
                    ("SS-1 to SS-10", "by_chance", Word::Passed),
                ],
            ),
            tried("sqlite", "OnSqlite", &[("SS-2", "it_holds", Word::Failed)]),
        ]);
        for line in [
            "| [StateStore](ports/state-store.md) | memory | full | 2 | 1 | 1 | 0 |",
            "| [StateStore](ports/state-store.md) | sqlite | **broken** | 0 | 0 | 0 | 1 |",
            "| [Mcp](ports/mcp.md) | none | | | | | |",
            "- memory of `seaworthy-memory` declares nothing.",
            "| clause | memory | sqlite |\n|---|---|---|\n| SS-1 | no scenario | no scenario |\n| SS-2 | passed[^1] | **failed** |\n| SS-10 | not declared[^2] | no scenario |\n| SS-1 to SS-10 | passed | no scenario |",
            "[^1]: SS-2, memory: *it cannot be seen*: it lives in memory.",
            "[^2]: SS-10, memory: *it survives* (durability is not declared): it lives in memory.",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn two_harnesses_of_one_adapter_are_told_apart() {
        let page = page(vec![
            tried("sqlite", "Small", &[("SS-1", "it_holds", Word::Passed)]),
            tried("sqlite", "Large", &[("SS-1", "it_holds", Word::Passed)]),
        ]);
        assert!(
            page.contains("| clause | sqlite (`Small`) | sqlite (`Large`) |"),
            "{page}"
        );
    }

    #[test]
    fn a_page_differs_where_a_line_is_other_or_missing() {
        assert_eq!(differences("a\nb\n", "a\nb\n"), [""; 0]);
        assert_eq!(differences("a\nb\n", "a\nc\nd\n").len(), 2);
        assert_eq!(differences("", "a\n").len(), 1);
    }
}
