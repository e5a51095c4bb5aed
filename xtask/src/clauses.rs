//! `cargo xtask clauses`: a clause is one sentence in the trait's documentation, the same sentence on the port's page,
//! and, if the port has a contract suite, a scenario in it and a broken adapter that shows that the scenario can fail.

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

/// Where the broken adapters are listed, each with the clauses that the suite must name.
const MUTANTS: &str = "testing/contract/tests/catches_broken_*.rs";

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static MUTANT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s+\w+: \w[^=]*=> (.*);$").expect("a valid pattern"));

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static QUOTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""([A-Z]{2}-[0-9]+)""#).expect("a valid pattern"));

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

/// The clauses that a broken adapter must be found to break: those of the entries `name: BUG => ["SS-1"];` and
/// `name: Harness<BUG> in scenario => "SS-1" [what was missed];`. An entry that is commented out is none.
fn with_mutant(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .filter_map(|line| MUTANT.captures(line)?.get(1))
        .flat_map(|clauses| QUOTED.captures_iter(clauses.as_str()))
        .filter_map(|clause| Some(clause.get(1)?.as_str().to_owned()))
        .collect()
}

/// The clauses of a port with a suite that no broken adapter breaks.
fn without_mutant(port: &str, clauses: &Clauses, broken: &BTreeSet<String>) -> Vec<String> {
    clauses
        .sentences
        .keys()
        .filter(|id| !broken.contains(*id))
        .map(|id| format!("{port}: no broken adapter in {MUTANTS} breaks {id}"))
        .collect()
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

/// All clauses that some broken adapter breaks.
fn mutants(root: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut broken = BTreeSet::new();
    for path in workspace::files(&root.join("testing/contract/tests"), "rs")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("catches_broken_") {
            broken.extend(with_mutant(&workspace::read(&path)?));
        }
    }
    Ok(broken)
}

/// Checks the workspace.
pub(crate) fn run() -> Result<(), Failure> {
    let root = workspace::root()?;
    let ports = sources(&root)?;
    let broken = mutants(&root)?;
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
        if suite.is_some() {
            findings.extend(without_mutant(port, clauses, &broken));
        }
    }
    for page in workspace::files(&root.join("docs/ports"), "md")? {
        let name = page.file_stem().unwrap_or_default().to_string_lossy();
        if !ports.contains_key(&name.replace('-', "_")) {
            findings.push(format!("docs/ports/{name}.md: there is no such port"));
        }
    }
    Failure::unless_empty(
        &findings,
        "The trait's documentation in ports/src decides; bring the page, the suite and the broken adapters in line with it.",
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

    const MUTANTS_LIST: &str = r#"
breaks! { state_store, logs;
    a_store_without_a_bug_breaks_nothing: NONE => [];
    a_torn_append: TORN_APPEND => ["SS-1"];
    // a_lost_seal: LOST_SEAL => ["SS-2"];
    sizes_that_are_made_up: NO_SIZES => ["CK-1", "CK-2"];
}

finds! { state_store, by_processes;
    a_process: InFolder<logs::TORN> in a_killed_process => "SS-9" ["what SS-7 says", "SS-8 => it"];
    by_chance: OnMemory<logs::LOST> in random_operations => ["Err(Sealed)"];
}
"#;

    #[test]
    fn the_clauses_of_broken_adapters_are_those_that_must_be_named() {
        let broken = with_mutant(MUTANTS_LIST);
        let named: Vec<&str> = broken.iter().map(String::as_str).collect();
        assert_eq!(named, ["CK-1", "CK-2", "SS-1", "SS-9"]);
    }

    #[test]
    fn a_clause_that_no_broken_adapter_breaks_is_found() {
        let clauses = in_source(SOURCE);
        let found = without_mutant("state_store", &clauses, &with_mutant(MUTANTS_LIST));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.concat().ends_with("breaks SS-2"), "{found:?}");
        let more = format!("{MUTANTS_LIST}    a_hint: NO_HINT => [\"SS-2\"];\n");
        assert_eq!(without_mutant("", &clauses, &with_mutant(&more)).len(), 0);
    }

    #[test]
    fn the_list_of_broken_adapters_of_this_workspace_is_read() {
        let broken = mutants(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        assert!(broken.contains("SS-3"), "one of `breaks!`");
        assert!(broken.contains("SS-9"), "one of `finds!`");
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
