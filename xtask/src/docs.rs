//! `cargo xtask docs`: what README.md and docs/ name exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use clap::CommandFactory as _;
use regex::Regex;

use crate::failure::Failure;
use crate::markdown::{self, Piece};
use crate::{Cli, clauses, workspace};

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static CLAUSE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b([A-Z]{2})-([0-9]+)\b").expect("a valid pattern"));

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static CRATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(^|[^/\w-])(seaworthy-[a-z][a-z-]*[a-z])\b").expect("a valid pattern")
});

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"--[a-z][a-z-]*").expect("a valid pattern"));

/// Folders at the root: text that begins with one of them and a slash is a path.
const FOLDERS: &[&str] = &[
    ".cargo", ".ci", "adapters", "core", "docs", "examples", "ports", "src", "testing", "xtask",
];

/// A page may name a crate, clause or path of the future only where it says so: in a decision.
const DECISIONS: &str = "docs/decisions";

/// A program's subcommands and their options.
type Commands = BTreeMap<String, BTreeSet<String>>;

/// What exists.
#[derive(Debug, Default)]
struct World {
    root: PathBuf,
    crates: BTreeSet<String>,
    /// Clauses by their letters.
    clauses: BTreeMap<String, BTreeSet<String>>,
    xtask: Commands,
    /// `None`: the binary is not built, so its commands cannot be checked.
    cli: Option<Commands>,
}

impl World {
    fn of(root: &Path) -> Result<Self, Failure> {
        let metadata = workspace::metadata(root)?;
        let crates = metadata
            .workspace_packages()
            .iter()
            .map(|package| package.name.to_string())
            .collect();
        let mut by_letters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in clauses::of_ports(root)?.into_values().flatten() {
            let letters = id.split('-').next().unwrap_or_default().to_owned();
            by_letters.entry(letters).or_default().insert(id);
        }
        let binary = metadata
            .target_directory
            .join("debug")
            .join(format!("seaworthy{}", std::env::consts::EXE_SUFFIX));
        let cli = binary
            .is_file()
            .then(|| commands_of(binary.as_std_path()))
            .transpose()?;
        Ok(Self {
            root: root.to_path_buf(),
            crates,
            clauses: by_letters,
            xtask: own_commands(),
            cli,
        })
    }

    /// What `page`, which lies in `folder`, names and does not exist.
    fn findings(&self, folder: &Path, page: &str, is_decision: bool) -> Vec<(usize, String)> {
        let mut findings = Vec::new();
        for (line, piece) in markdown::pieces(page) {
            let mut found = Vec::new();
            match piece {
                Piece::Link(target) => found.extend(self.check_link(folder, page, target)),
                Piece::Code(code) => {
                    if !is_decision {
                        found.extend(self.check_path(code));
                        found.extend(self.check_names(code));
                    }
                    found.extend(self.check_command(code));
                }
                Piece::Block(language, text) => {
                    if !is_decision {
                        found.extend(self.check_names(text));
                    }
                    if matches!(language, "" | "sh" | "bash" | "shell" | "console" | "text") {
                        found.extend(self.check_command(text));
                    }
                }
                Piece::Prose(text) => {
                    if !is_decision {
                        found.extend(self.check_names(text));
                    }
                }
            }
            findings.extend(found.into_iter().map(|finding| (line, finding)));
        }
        findings
    }

    fn check_link(&self, folder: &Path, page: &str, target: &str) -> Option<String> {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = folder.join(path);
        if !path.is_empty() && !file.exists() {
            return Some(format!("the link {target} leads nowhere"));
        }
        if !path.is_empty() && !self.is_inside(&file) {
            return Some(format!("the link {target} leads out of the project"));
        }
        let other;
        let text = if path.is_empty() {
            page
        } else if path.ends_with(".md") {
            other = std::fs::read_to_string(&file).unwrap_or_default();
            &other
        } else {
            return None;
        };
        let known = anchor.is_empty() || markdown::anchors(text).iter().any(|one| one == anchor);
        (!known).then(|| format!("the link {target} names no heading"))
    }

    fn is_inside(&self, file: &Path) -> bool {
        match (file.canonicalize(), self.root.canonicalize()) {
            (Ok(file), Ok(root)) => file.starts_with(root),
            _ => false,
        }
    }

    fn check_path(&self, code: &str) -> Option<String> {
        let path = code.trim_start_matches("./").trim_end_matches('/');
        let first = path.split('/').next().unwrap_or_default();
        let looks_like_path =
            path.contains('/') && FOLDERS.contains(&first) && !path.contains([' ', ':']);
        if !looks_like_path {
            return None;
        }
        // What comes before the first part that stands for many.
        let known: PathBuf = path
            .split('/')
            .take_while(|part| !part.contains(['*', '<', '{', '…']))
            .collect();
        (!self.root.join(&known).exists()).then(|| format!("there is no {code}"))
    }

    fn check_names(&self, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        for found in CRATE.captures_iter(text) {
            let name = found.get(2).map_or("", |name| name.as_str());
            if !self.crates.contains(name) && !text.contains("://") {
                findings.push(format!("there is no crate {name}"));
            }
        }
        for found in CLAUSE.captures_iter(text) {
            let part = |at| found.get(at).map_or("", |part| part.as_str());
            let unknown = self
                .clauses
                .get(part(1))
                .is_some_and(|clauses| !clauses.contains(part(0)));
            if unknown {
                findings.push(format!("there is no clause {}", part(0)));
            }
        }
        findings
    }

    fn check_command(&self, text: &str) -> Vec<String> {
        let mut words = text
            .trim()
            .trim_start_matches("$ ")
            .split_whitespace()
            .peekable();
        while words.next_if(|word| is_assignment(word)).is_some() {}
        let rest: Vec<&str> = words.collect();
        let (program, commands, args) = match rest.as_slice() {
            ["cargo", "xtask", args @ ..] => ("cargo xtask", Some(&self.xtask), args),
            ["seaworthy", args @ ..] => ("seaworthy", self.cli.as_ref(), args),
            ["cargo", "run", args @ ..] => {
                let own = args
                    .iter()
                    .position(|arg| *arg == "--")
                    .map_or(args.len(), |at| at + 1);
                (
                    "seaworthy",
                    self.cli.as_ref(),
                    args.get(own..).unwrap_or_default(),
                )
            }
            _ => return Vec::new(),
        };
        let (Some(commands), Some((name, args))) = (commands, args.split_first()) else {
            return Vec::new();
        };
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Vec::new();
        }
        let name = name.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
        if !commands.contains_key(name) {
            return vec![format!("there is no command `{program} {name}`")];
        }
        let (name, args) = match below(commands, name, args) {
            Ok(found) => found,
            Err(name) => return vec![format!("there is no command `{program} {name}`")],
        };
        let Some(options) = commands.get(&name) else {
            return Vec::new();
        };
        args.iter()
            .take_while(|arg| !matches!(**arg, "--" | "|" | ">" | "&&" | ";" | "#"))
            .flat_map(|arg| OPTION.find(arg.trim_start_matches('[')))
            .filter(|option| option.start() == 0 && !options.contains(option.as_str()))
            .map(|option| format!("`{program} {name}` has no option {}", option.as_str()))
            .collect()
    }
}

/// The command below `name` that `args` begin with, such as `services up`, and the rest of them; `name` itself where none is
/// meant. `Err`: one is meant that does not exist.
fn below<'a>(
    commands: &Commands,
    name: &str,
    args: &'a [&'a str],
) -> Result<(String, &'a [&'a str]), String> {
    let has_more = commands.keys().any(|known| {
        known
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    match args.split_first() {
        Some((word, rest))
            if has_more && word.starts_with(|first: char| first.is_ascii_lowercase()) =>
        {
            let word = word.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
            let name = format!("{name} {word}");
            if commands.contains_key(&name) {
                Ok((name, rest))
            } else {
                Err(name)
            }
        }
        _ => Ok((name.to_owned(), args)),
    }
}

/// Whether a word sets a variable of the environment for the command after it.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    })
}

/// The subcommands and options of this program.
fn own_commands() -> Commands {
    let mut command = Cli::command();
    command.build();
    let mut commands = Commands::new();
    collect(&command, "", &mut commands);
    commands
}

fn collect(command: &clap::Command, above: &str, commands: &mut Commands) {
    for sub in command.get_subcommands() {
        let options = sub
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .map(|long| format!("--{long}"))
            .collect();
        let name = format!("{above}{}", sub.get_name());
        collect(sub, &format!("{name} "), commands);
        commands.insert(name, options);
    }
}

/// The subcommands and options of a binary, as its help tells them.
fn commands_of(binary: &Path) -> Result<Commands, Failure> {
    let mut commands = Commands::new();
    for name in listed_commands(&help(binary, &[])?) {
        let said = help(binary, &[&name])?;
        for below in listed_commands(&said) {
            let options = options_in(&help(binary, &[&name, &below])?);
            commands.insert(format!("{name} {below}"), options);
        }
        commands.insert(name, options_in(&said));
    }
    Ok(commands)
}

fn options_in(help: &str) -> BTreeSet<String> {
    OPTION
        .find_iter(help)
        .map(|option| option.as_str().to_owned())
        .collect()
}

fn help(binary: &Path, args: &[&str]) -> Result<String, Failure> {
    let output = Command::new(binary)
        .args(args)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("{} cannot be run: {error}", binary.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names in the section `Commands:` of a help text.
fn listed_commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| line.trim() != "Commands:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        // Names are indented by two; what is indented deeper continues a description.
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Checks the workspace.
pub(crate) fn run() -> Result<(), Failure> {
    let root = workspace::root()?;
    let world = World::of(&root)?;
    println!(
        "{}",
        match &world.cli {
            Some(_) => "commands are checked against the binary as it was last built",
            None =>
                "seaworthy is not built, so its commands are not checked: `cargo build -p seaworthy-cli`",
        }
    );
    let mut pages = workspace::files(&root.join("docs"), "md")?;
    pages.extend(workspace::files(&root.join("examples"), "md")?);
    for name in ["README.md", "CONTRIBUTING.md"] {
        let page = root.join(name);
        if page.is_file() {
            pages.push(page);
        }
    }
    let mut findings = Vec::new();
    for path in &pages {
        let page = workspace::read(path)?;
        let folder = path.parent().unwrap_or(&root);
        let shown = path.strip_prefix(&root).unwrap_or(path);
        for (line, finding) in world.findings(folder, &page, shown.starts_with(DECISIONS)) {
            findings.push(format!("{}:{line}: {finding}", shown.display()));
        }
    }
    Failure::unless_empty(
        &findings,
        "Documentation names only what exists: mend the page or bring back what it names.",
    )?;
    println!("{} pages name only what exists", pages.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let set = |items: &[&str]| {
            items
                .iter()
                .map(|item| (*item).to_owned())
                .collect::<BTreeSet<_>>()
        };
        World {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            crates: set(&["seaworthy", "seaworthy-core"]),
            clauses: BTreeMap::from([("SS".to_owned(), set(&["SS-1", "SS-2"]))]),
            xtask: BTreeMap::from([
                ("test".to_owned(), set(&[])),
                ("services".to_owned(), set(&[])),
                ("services up".to_owned(), set(&["--json"])),
            ]),
            cli: Some(BTreeMap::from([(
                "run".to_owned(),
                set(&["--yes", "--workspace"]),
            )])),
        }
    }

    fn findings(page: &str) -> Vec<(usize, String)> {
        let world = world();
        world.findings(&world.root, page, false)
    }

    #[test]
    fn what_exists_is_no_finding() {
        let page = "# Head\n[a](#head) [b](xtask/Cargo.toml) [c](https://example.org/x) `xtask/src/` `core/src/*.rs`\n\
                    seaworthy-core SS-2 `adapters/driven/<system>/` UTF-8 XX-9 `and/or` `core` `seaworthy::Ports`\n\
                    `https://github.com/seaworthy-rs/seaworthy`\n\
                    ```sh\n$ KEY=x cargo run --release -- run a.yaml --yes --workspace=. | grep --x\ncargo xtask test -- --nocapture\ncargo xtask services up --json\n```\n\
                    `seaworthy run`, `seaworthy RUN`\n```toml\nseaworthy = { x = 1 }\n```";
        assert_eq!(findings(page), []);
    }

    #[test]
    fn links_that_lead_nowhere_or_outside_are_found() {
        for page in ["[a](no/such.md)", "[a](#nowhere)", "[a](../)"] {
            assert_eq!(findings(page).len(), 1, "{page}");
        }
    }

    #[test]
    fn paths_crates_and_clauses_that_are_not_there_are_found() {
        for page in [
            "`core/src/no_such.rs`",
            "`adapters/no-such/*`",
            "seaworthy-nosuch",
            "SS-3",
            "`SS-0`",
        ] {
            assert_eq!(findings(page).len(), 1, "{page}");
        }
    }

    #[test]
    fn commands_and_options_that_are_not_there_are_found() {
        for page in [
            "`cargo xtask nosuch`",
            "`seaworthy nosuch`",
            "`seaworthy run --nosuch`",
            "`cargo run -- run --nosuch`",
            "`cargo xtask services nosuch`",
            "`cargo xtask services up --nosuch`",
            "```console\n$ seaworthy nosuch RUN\n```",
            "```\nKEY=x seaworthy run [--nosuch]\n```",
        ] {
            assert_eq!(findings(page).len(), 1, "{page}");
        }
    }

    #[test]
    fn a_finding_has_the_line_it_stands_on() {
        assert_eq!(
            findings("one\n\nSS-3\n").first().map(|(line, _)| *line),
            Some(3)
        );
    }

    #[test]
    fn a_decision_may_name_what_is_no_longer_there() {
        let world = world();
        let page = "`core/src/gone.rs` SS-99 seaworthy-gone [a](gone.md)";
        assert_eq!(
            world.findings(&world.root, page, true).len(),
            1,
            "its links must still lead somewhere"
        );
    }

    #[test]
    fn help_tells_the_commands() {
        let help = "About\n\nUsage: x\n\nCommands:\n  run     Runs\n          more about it\n  help    Help\n\nOptions:\n  -h\n";
        assert_eq!(listed_commands(help), ["run", "help"]);
    }

    #[test]
    fn this_program_knows_its_own_commands() {
        let own = own_commands();
        assert!(own.contains_key("layering"));
        assert!(own["ci"].contains("--except"));
        assert!(own["services up"].contains("--json"));
    }
}
