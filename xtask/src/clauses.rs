//! `cargo xtask clauses`: a clause is one sentence in the trait's documentation, the same sentence on the port's page,
//! and a scenario in the contract suite, if the port has one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::failure::Failure;
use crate::workspace;

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[*-] \*\*([A-Z]{2}-[0-9]+)\*\* (.*)$").expect("a valid pattern")
});

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[(`[^`]+`)\](\([^)]*\))?").expect("a valid pattern"));

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b([A-Z]{2}-[0-9]+)\b").expect("a valid pattern"));

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static SCENARIO: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b([a-z]{2})([0-9]+)_[a-z]").expect("a valid pattern"));

/// Clauses by id, with their sentences; an id that appears twice is in `twice`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clauses {
    sentences: BTreeMap<String, String>,
    twice: Vec<String>,
}

/// The clauses in `lines`: list items that begin with a bold id, with their indented continuations.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Clauses {
    let mut clauses = Clauses::default();
    let mut current: Option<(String, String)> = None;
    for line in lines {
        if let Some(item) = CLAUSE.captures(line) {
            clauses.keep(current.take());
            let part = |at| item.get(at).map_or("", |part| part.as_str()).to_owned();
            current = Some((part(1), part(2)));
        } else if let (Some((_, sentence)), true) = (&mut current, line.starts_with("  ")) {
            sentence.push(' ');
            sentence.push_str(line.trim());
        } else {
            clauses.keep(current.take());
        }
    }
    clauses.keep(current);
    clauses
}

impl Clauses {
    fn keep(&mut self, clause: Option<(String, String)>) {
        if let Some((id, sentence)) = clause {
            match self.sentences.entry(id) {
                Entry::Occupied(known) => self.twice.push(known.key().clone()),
                Entry::Vacant(place) => {
                    place.insert(plain(&sentence));
                }
            }
        }
    }
}

/// A sentence without links and with single spaces, as both places can write it.
fn plain(sentence: &str) -> String {
    let text = LINK.replace_all(sentence, "$1");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The clauses in the doc comments of Rust source.
fn in_source(source: &str) -> Clauses {
    parse(
        source
            .lines()
            .map(|line| line.trim_start().strip_prefix("///").unwrap_or(""))
            .map(|line| line.strip_prefix(' ').unwrap_or(line)),
    )
}

/// The clauses that a suite names, in text or in the names of its scenarios (`ss1_…`).
fn in_suite(source: &str) -> BTreeSet<String> {
    let part =
        |found: &regex::Captures<'_>, at| found.get(at).map_or("", |part| part.as_str()).to_owned();
    let named = NAMED.captures_iter(source).map(|found| part(&found, 1));
    let scenarios = SCENARIO
        .captures_iter(source)
        .map(|found| format!("{}-{}", part(&found, 1).to_uppercase(), part(&found, 2)));
    named.chain(scenarios).collect()
}

/// What is wrong between a port's clauses, its page and its suite.
fn compare(
    port: &str,
    source: &Clauses,
    page: &Clauses,
    suite: Option<&BTreeSet<String>>,
) -> Vec<String> {
    let mut findings = Vec::new();
    for id in &source.twice {
        findings.push(format!(
            "{port}: {id} stands twice in the trait's documentation"
        ));
    }
    for id in &page.twice {
        findings.push(format!("{port}: {id} stands twice on the page"));
    }
    for (id, sentence) in &source.sentences {
        match page.sentences.get(id) {
            None => findings.push(format!("{port}: {id} is missing on the page")),
            Some(other) if other != sentence => findings.push(format!(
                "{port}: {id} differs\n    trait: {sentence}\n    page:  {other}"
            )),
            Some(_) => {}
        }
        if suite.is_some_and(|suite| !suite.contains(id)) {
            findings.push(format!(
                "{port}: {id} has no scenario in the contract suite"
            ));
        }
    }
    for id in page.sentences.keys() {
        if !source.sentences.contains_key(id) {
            findings.push(format!(
                "{port}: {id} is on the page but not in the trait's documentation"
            ));
        }
    }
    let prefixes: BTreeSet<_> = source.sentences.keys().map(|id| prefix(id)).collect();
    for id in suite.into_iter().flatten() {
        if prefixes.contains(prefix(id)) && !source.sentences.contains_key(id) {
            findings.push(format!(
                "{port}: the contract suite names {id}, which the trait does not"
            ));
        }
    }
    findings
}

fn prefix(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

/// All clauses of the ports by module name.
pub(crate) fn of_ports(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    Ok(sources(root)?
        .into_iter()
        .map(|(port, clauses)| (port, clauses.sentences.into_keys().collect()))
        .collect())
}

/// The modules of the ports crate that have clauses.
fn sources(root: &Path) -> Result<BTreeMap<String, Clauses>, Failure> {
    let mut ports = BTreeMap::new();
    for path in workspace::files(&root.join("ports/src"), "rs")? {
        let clauses = in_source(&workspace::read(&path)?);
        if let (Some(name), false) = (path.file_stem(), clauses.sentences.is_empty()) {
            ports.insert(name.to_string_lossy().into_owned(), clauses);
        }
    }
    Ok(ports)
}

/// The text of a port's suite: `port.rs` and the folder `port/` in the contract crate. `None`: it has no suite.
fn suite(root: &Path, port: &str) -> Result<Option<BTreeSet<String>>, Failure> {
    let folder = root.join("testing/contract/src");
    let file = folder.join(format!("{port}.rs"));
    let mut paths = workspace::files(&folder.join(port), "rs")?;
    if file.is_file() {
        paths.push(file);
    }
    if paths.is_empty() {
        return Ok(None);
    }
    let mut named = BTreeSet::new();
    for path in paths {
        named.extend(in_suite(&workspace::read(&path)?));
    }
    Ok(Some(named))
}

/// Checks the workspace.
pub(crate) fn run() -> Result<(), Failure> {
    let root = workspace::root()?;
    let ports = sources(&root)?;
    let mut findings = Vec::new();
    let mut with_suite = 0;
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (port, clauses) in &ports {
        for id in clauses.sentences.keys() {
            let owner = owners.entry(prefix(id)).or_insert(port);
            if owner != port {
                findings.push(format!("{port}: {id} uses the letters of {owner}"));
            }
        }
        let page = root.join(format!("docs/ports/{}.md", port.replace('_', "-")));
        if !page.is_file() {
            findings.push(format!(
                "{port}: docs/ports/{}.md is missing",
                port.replace('_', "-")
            ));
            continue;
        }
        let page = parse(workspace::read(&page)?.lines());
        let suite = suite(&root, port)?;
        with_suite += usize::from(suite.is_some());
        findings.extend(compare(port, clauses, &page, suite.as_ref()));
    }
    for page in workspace::files(&root.join("docs/ports"), "md")? {
        let name = page.file_stem().unwrap_or_default().to_string_lossy();
        if !ports.contains_key(&name.replace('-', "_")) {
            findings.push(format!("docs/ports/{name}.md: there is no such port"));
        }
    }
    Failure::unless_empty(
        &findings,
        "The trait's documentation in ports/src decides; bring the page and the suite in line with it.",
    )?;
    let count: usize = ports.values().map(|clauses| clauses.sentences.len()).sum();
    println!(
        "{count} clauses of {} ports agree; {with_suite} ports have a suite",
        ports.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
/// Keeps things.
///
/// # Contract
///
/// * **SS-1** An append writes all
///   or [`Kind::Nothing`](crate::Kind).
/// * **SS-2** *(watch)* Hints are [`hints`].
///
/// Not part of SS-2.
pub trait StateStore {}
";
    const PAGE: &str = "
# StateStore

- **SS-1** An append writes all or `Kind::Nothing`.
- **SS-2** *(watch)* Hints are `hints`.
";

    fn findings(page: &str, suite: Option<&str>) -> usize {
        let suite = suite.map(in_suite);
        compare(
            "state_store",
            &in_source(SOURCE),
            &parse(page.lines()),
            suite.as_ref(),
        )
        .len()
    }

    #[test]
    fn links_and_line_breaks_make_no_difference() {
        assert_eq!(in_source(SOURCE), parse(PAGE.lines()));
        assert_eq!(findings(PAGE, None), 0);
    }

    #[test]
    fn a_sentence_ends_with_its_list_item() {
        let clauses = in_source(SOURCE);
        let ids: Vec<_> = clauses.sentences.keys().map(String::as_str).collect();
        assert_eq!(ids, ["SS-1", "SS-2"]);
        assert_eq!(clauses.sentences["SS-2"], "*(watch)* Hints are `hints`.");
    }

    #[test]
    fn a_missing_clause_another_wording_and_a_surplus_one_are_found() {
        assert_eq!(
            findings("- **SS-1** An append writes all or `Kind::Nothing`.", None),
            1
        );
        assert_eq!(findings(&PAGE.replace("all", "some"), None), 1);
        assert_eq!(findings(&format!("{PAGE}- **SS-3** More."), None), 1);
        assert_eq!(findings(&format!("{PAGE}- **SS-1** Again."), None), 1);
    }

    #[test]
    fn a_suite_has_every_clause_and_no_other() {
        assert_eq!(
            findings(PAGE, Some("always ss1_a_b; /// SS-2 is a hint")),
            0
        );
        assert_eq!(findings(PAGE, Some("always ss1_a_b;")), 1);
        assert_eq!(findings(PAGE, Some("ss1_a ss2_b ss17_c")), 1);
        assert_eq!(
            findings(PAGE, Some("ss1_a ss2_b; DR-99 is another port's")),
            0
        );
    }
}
