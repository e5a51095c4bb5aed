//! `cargo xtask layering`: who may depend on whom.
//!
//! Two rules. Inside the workspace, a crate's dependencies are those its layer allows. Outside, nothing that brings a
//! runtime, a client, the time or chance may be reached from the ports or the core, however many crates lie between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use cargo_metadata::{DepKindInfo, DependencyKind, Metadata};

use crate::failure::Failure;
use crate::workspace;

/// A layer of the workspace: which folder a crate lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Ports,
    Core,
    Driven,
    Support,
    Decorator,
    Driving,
    Cli,
    Facade,
    Contract,
    Fakes,
    Simulation,
    Servers,
    Bench,
    Example,
    OutsideAdapter,
    Xtask,
}

use Layer::{
    Bench, Cli, Contract, Core, Decorator, Driven, Driving, Example, Facade, Fakes, OutsideAdapter,
    Ports, Servers, Simulation, Support, Xtask,
};

impl Layer {
    /// The layer of the crate in `folder`, relative to the workspace's root.
    fn of(folder: &str) -> Option<Self> {
        let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        Some(match parts.as_slice() {
            [] => Facade,
            ["ports"] => Ports,
            ["core"] => Core,
            ["adapters", "driven", _] => Driven,
            ["adapters", "support", _] => Support,
            ["adapters", "decorators", _] => Decorator,
            ["adapters", "driving", "cli"] => Cli,
            ["adapters", "driving", _] => Driving,
            ["testing", "contract"] => Contract,
            ["testing", "fakes"] => Fakes,
            ["testing", "simulation"] => Simulation,
            ["testing", "servers"] => Servers,
            ["testing", "bench"] => Bench,
            ["examples", "write-an-adapter"] => OutsideAdapter,
            ["examples", _] => Example,
            ["xtask"] => Xtask,
            _ => return None,
        })
    }

    /// What a crate of this layer may use inside the workspace.
    const fn may_use(self) -> &'static [Self] {
        match self {
            Ports | Servers | Xtask => &[],
            Core | Decorator | Contract | Fakes => &[Ports],
            Support | Driven => &[Ports, Support],
            Driving => &[Core, Ports],
            // The suites, and the clock that they move.
            Cli => &[Facade, Driving, Contract, Fakes],
            Facade => &[Core, Ports, Driven, Decorator, Driving],
            Simulation => &[Core, Ports, Contract, Fakes, Driven],
            // An application like any other, with doubles for what it does not measure.
            Bench => &[Facade, Fakes],
            Example => &[Facade],
            // What somebody else's adapter has: the port it implements.
            OutsideAdapter => &[Ports],
        }
    }

    /// What its tests may use besides.
    const fn tests_may_use(self) -> &'static [Self] {
        match self {
            Ports | Fakes | Xtask | Simulation | Bench => &[],
            Core => &[Fakes],
            Servers => &[Ports, Driven],
            // How public suites are asked.
            Cli => &[Servers],
            Driven | Support | Decorator => &[Contract, Fakes],
            // Its author has the suite and nothing of ours besides.
            OutsideAdapter => &[Contract],
            Driving => &[Facade, Fakes],
            // The mutants are an adapter that keeps every clause, with one fault in front.
            Contract => &[Fakes, Driven],
            Facade | Example => &[Fakes],
        }
    }

    /// Whether its tests may use the adapter of the real clock and randomness, which owns no other system.
    const fn tests_may_use_system(self) -> bool {
        matches!(self, Driven | Support | Decorator)
    }

    /// Whether no runtime, client, clock or randomness may be reached from it.
    const fn is_pure(self) -> bool {
        matches!(self, Ports | Core)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ports => "ports",
            Core => "core",
            Driven => "adapters/driven",
            Support => "adapters/support",
            Decorator => "adapters/decorators",
            Driving => "adapters/driving",
            Cli => "adapters/driving/cli",
            Facade => "the façade",
            Contract => "testing/contract",
            Fakes => "testing/fakes",
            Servers => "testing/servers",
            Simulation => "testing/simulation",
            Bench => "testing/bench",
            Example => "examples",
            OutsideAdapter => "the example of an adapter",
            Xtask => "xtask",
        })
    }
}

/// The folder of the adapter of the real clock and randomness.
const SYSTEM: &str = "adapters/driven/system";
/// The folder of the adapter that starts servers inside sandboxes, which tests of a sandbox hold it to.
const MCP: &str = "adapters/driven/mcp";

/// Crates that ports and core must not reach: runtimes, clients, drivers, time and chance. A `*` at the end stands for
/// any rest.
const FORBIDDEN: &[&str] = &[
    "async-io",
    "async-nats",
    "async-std",
    "async-openai",
    "aws-*",
    "axum",
    "chrono",
    "curl",
    "dotenvy",
    "fastrand",
    "getrandom",
    "h2",
    "hyper",
    "hyper-*",
    "isahc",
    "mio",
    "nanoid",
    "object_store",
    "opentelemetry*",
    "rand",
    "rand_*",
    "rayon",
    "redis",
    "reqwest",
    "reqwest-*",
    "rmcp",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "sqlx-*",
    "tempfile",
    "time",
    "tokio",
    "tokio-*",
    "tonic",
    "ulid",
    "ureq",
    "uuid",
    "wasmtime",
];

/// Edges that may lead to a forbidden crate all the same, each with its reason. One that no longer exists is a finding.
const EXCUSED: &[Excuse] = &[
    Excuse {
        from: "ahash",
        to: "getrandom",
        reason: "seeds the hash maps of the schema validator; no result depends on it",
    },
    Excuse {
        from: "ring",
        to: "getrandom",
        reason: "comes with the feature that hashes faster, which asks it for nothing",
    },
];

/// A platform that the workspace is not built for: dependencies for it alone are not looked at.
const FOREIGN: &str = "cfg(target_arch = \"wasm32\")";

struct Excuse {
    from: &'static str,
    to: &'static str,
    #[expect(dead_code, reason = "read by people")]
    reason: &'static str,
}

/// The part of a workspace that the rules look at.
#[derive(Debug, Default)]
struct Graph {
    /// Crates of the workspace, by name.
    members: BTreeMap<String, Member>,
    /// What each crate is built with, by id: the workspace's features and all its platforms together.
    resolved: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Member {
    folder: String,
    id: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    for_tests: bool,
}

#[derive(Debug)]
struct Node {
    name: String,
    normal: Vec<String>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let mut graph = Self::default();
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.to_string()))
            .collect();
        for package in metadata.workspace_packages() {
            let folder = package
                .manifest_path
                .parent()
                .and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok())
                .map(|folder| folder.as_str().replace('\\', "/"))
                .unwrap_or_default();
            let dependencies = package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    name: dependency.name.clone(),
                    for_tests: dependency.kind == DependencyKind::Development,
                })
                .collect();
            graph.members.insert(
                package.name.to_string(),
                Member {
                    folder,
                    id: package.id.repr.clone(),
                    dependencies,
                },
            );
        }
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            let normal = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(is_looked_at))
                .map(|dep| dep.pkg.repr.clone())
                .collect();
            let name = names.get(&node.id).cloned().unwrap_or_default();
            graph
                .resolved
                .insert(node.id.repr.clone(), Node { name, normal });
        }
        graph
    }

    fn findings(&self, excused: &[Excuse]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut used = BTreeSet::new();
        for (name, member) in &self.members {
            let Some(layer) = Layer::of(&member.folder) else {
                findings.push(format!(
                    "{name}: the folder {} belongs to no layer",
                    member.folder
                ));
                continue;
            };
            self.check_direct(name, layer, member, &mut findings);
            if layer.is_pure() {
                self.check_reach(name, member, excused, &mut used, &mut findings);
            }
        }
        for (at, excuse) in excused.iter().enumerate() {
            if !used.contains(&at) {
                findings.push(format!(
                    "the excuse {} -> {} excuses nothing any more: remove it",
                    excuse.from, excuse.to
                ));
            }
        }
        findings
    }

    /// Inside the workspace: only what the layer allows.
    fn check_direct(&self, name: &str, layer: Layer, member: &Member, findings: &mut Vec<String>) {
        for dependency in &member.dependencies {
            let Some(used) = self.members.get(&dependency.name) else {
                continue;
            };
            // A crate of no layer has a finding of its own.
            let Some(used_layer) = Layer::of(&used.folder) else {
                continue;
            };
            let allowed = layer.may_use().contains(&used_layer)
                || dependency.for_tests
                    && (layer.tests_may_use().contains(&used_layer)
                        || layer.tests_may_use_system() && used.folder == SYSTEM
                        || layer == Driven && used.folder == MCP);
            if !allowed {
                let what = if dependency.for_tests {
                    "tests of "
                } else {
                    ""
                };
                findings.push(format!(
                    "{name} uses {}: {what}{layer} may not use {used_layer}",
                    dependency.name
                ));
            }
        }
    }

    /// Outside: nothing forbidden, however far away. The shortest way there is part of the finding.
    fn check_reach(
        &self,
        name: &str,
        member: &Member,
        excused: &[Excuse],
        used: &mut BTreeSet<usize>,
        findings: &mut Vec<String>,
    ) {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([member.id.as_str()]);
        while let Some(id) = queue.pop_front() {
            let Some(node) = self.resolved.get(id) else {
                continue;
            };
            for next in &node.normal {
                let Some(found) = self.resolved.get(next) else {
                    continue;
                };
                if is_forbidden(&found.name) {
                    let excuse = excused
                        .iter()
                        .position(|excuse| excuse.from == node.name && excuse.to == found.name);
                    if let Some(excuse) = excuse {
                        used.insert(excuse);
                        continue;
                    }
                }
                if came_from.contains_key(next.as_str()) || *next == member.id {
                    continue;
                }
                came_from.insert(next, id);
                if is_forbidden(&found.name) {
                    let way = self.way(&came_from, next);
                    findings.push(format!("{name} reaches {}: {way}", found.name));
                } else {
                    queue.push_back(next);
                }
            }
        }
    }

    fn way(&self, came_from: &BTreeMap<&str, &str>, to: &str) -> String {
        let mut names = Vec::new();
        let mut at = Some(to);
        while let Some(id) = at {
            names.push(self.resolved.get(id).map_or(id, |node| &node.name));
            at = came_from.get(id).copied();
        }
        names.reverse();
        names.join(" -> ")
    }
}

/// Whether a dependency ends up in what is built: neither for tests nor for build scripts, nor for a foreign platform.
fn is_looked_at(kind: &DepKindInfo) -> bool {
    let platform = kind.target.as_ref().map(ToString::to_string);
    kind.kind == DependencyKind::Normal && platform.as_deref() != Some(FOREIGN)
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
}

/// Checks the workspace.
pub(crate) fn run() -> Result<(), Failure> {
    let root = workspace::root()?;
    let graph = Graph::of(&workspace::metadata(&root)?);
    Failure::unless_empty(
        &graph.findings(EXCUSED),
        "Move the code to the layer that may use it, or put a port in between (docs/architecture.md).",
    )?;
    println!("{} crates keep to their layers", graph.members.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of `(name, folder, uses, tests use)`.
    fn graph(members: &[(&str, &str, &[&str], &[&str])], outside: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (name, folder, uses, tests_use) in members {
            let dependency = |for_tests| {
                move |name: &&str| Dependency {
                    name: (*name).to_owned(),
                    for_tests,
                }
            };
            let dependencies = uses
                .iter()
                .map(dependency(false))
                .chain(tests_use.iter().map(dependency(true)))
                .collect();
            let member = Member {
                folder: (*folder).to_owned(),
                id: (*name).to_owned(),
                dependencies,
            };
            graph.members.insert((*name).to_owned(), member);
        }
        let inside = members.iter().map(|(name, _, uses, _)| (*name, *uses));
        for (name, uses) in inside.chain(outside.iter().copied()) {
            let node = Node {
                name: name.to_owned(),
                normal: uses.iter().map(|name| (*name).to_owned()).collect(),
            };
            graph.resolved.insert(name.to_owned(), node);
        }
        graph
    }

    fn findings(members: &[(&str, &str, &[&str], &[&str])], outside: &[(&str, &[&str])]) -> usize {
        graph(members, outside).findings(&[]).len()
    }

    const PORTS: (&str, &str, &[&str], &[&str]) = ("ports", "ports", &[], &[]);
    const CORE: (&str, &str, &[&str], &[&str]) = ("core", "core", &["ports"], &[]);
    const SQLITE: (&str, &str, &[&str], &[&str]) =
        ("sqlite", "adapters/driven/sqlite", &["ports"], &[]);
    const FAKES: (&str, &str, &[&str], &[&str]) = ("fakes", "testing/fakes", &["ports"], &[]);
    const CONTRACT: (&str, &str, &[&str], &[&str]) =
        ("contract", "testing/contract", &["ports"], &[]);
    const SYSTEM_CRATE: (&str, &str, &[&str], &[&str]) =
        ("system", "adapters/driven/system", &["ports"], &[]);

    #[test]
    fn a_workspace_that_keeps_to_the_rules_has_no_findings() {
        let members = [
            PORTS,
            ("core", "core", &["ports"], &["fakes"]),
            FAKES,
            CONTRACT,
            SYSTEM_CRATE,
            (
                "polling",
                "adapters/support/polling",
                &["ports"],
                &["fakes"],
            ),
            ("http", "adapters/support/http", &["ports", "tls"], &[]),
            ("tls", "adapters/support/tls", &[], &[]),
            (
                "sqlite",
                "adapters/driven/sqlite",
                &["ports", "polling", "tls"],
                &["contract", "fakes", "system"],
            ),
            ("facade", "", &["core", "ports", "sqlite", "system"], &[]),
            (
                "cli",
                "adapters/driving/cli",
                &["facade", "contract", "fakes"],
                &[],
            ),
            (
                "simulation",
                "testing/simulation",
                &["core", "ports", "fakes", "contract"],
                &[],
            ),
            ("xtask", "xtask", &[], &[]),
        ];
        let outside: [(&str, &[&str]); 2] = [("serde", &[]), ("tokio", &[])];
        assert_eq!(findings(&members, &outside), 0);
    }

    #[test]
    fn the_core_may_use_no_adapter_and_no_other_crate_but_ports() {
        let uses_adapter = ("core", "core", &["ports", "sqlite"] as &[_], &[] as &[_]);
        assert_eq!(findings(&[PORTS, SQLITE, uses_adapter], &[]), 1);
        let tests_use_adapter = ("core", "core", &["ports"] as &[_], &["sqlite"] as &[_]);
        assert_eq!(findings(&[PORTS, SQLITE, tests_use_adapter], &[]), 1);
    }

    #[test]
    fn an_adapter_may_use_neither_the_core_nor_another_adapter() {
        for used in ["core", "sqlite"] {
            let uses = [used];
            let member = ("other", "adapters/driven/other", &uses as &[_], &[] as &[_]);
            assert_eq!(findings(&[PORTS, CORE, SQLITE, member], &[]), 1, "{used}");
        }
    }

    #[test]
    fn what_tests_may_use_the_crate_itself_may_not() {
        for used in ["contract", "fakes", "system"] {
            let uses = [used];
            let itself = ("other", "adapters/driven/other", &uses as &[_], &[] as &[_]);
            let its_tests = ("other", "adapters/driven/other", &[] as &[_], &uses as &[_]);
            let members = [PORTS, CONTRACT, FAKES, SYSTEM_CRATE];
            assert_eq!(
                findings(&[&members[..], &[itself]].concat(), &[]),
                1,
                "{used}"
            );
            assert_eq!(
                findings(&[&members[..], &[its_tests]].concat(), &[]),
                0,
                "{used}"
            );
        }
    }

    #[test]
    fn ports_suites_and_xtask_stand_alone() {
        let members = [
            ("ports", "ports", &[] as &[_], &["core"] as &[_]),
            CORE,
            ("contract", "testing/contract", &["core"], &[]),
            ("xtask", "xtask", &["ports"], &[]),
        ];
        assert_eq!(findings(&members, &[]), 3);
    }

    #[test]
    fn surfaces_own_no_adapter_and_the_binary_reaches_them_through_the_facade() {
        let members = [
            PORTS,
            SQLITE,
            ("http", "adapters/driving/http", &["sqlite"], &[]),
            ("cli", "adapters/driving/cli", &["sqlite"], &[]),
        ];
        assert_eq!(findings(&members, &[]), 2);
    }

    #[test]
    fn the_example_of_an_adapter_has_what_an_outsider_has() {
        let folder = "examples/write-an-adapter";
        let example = ("files", folder, &["ports"] as &[_], &["contract"] as &[_]);
        assert_eq!(findings(&[PORTS, CONTRACT, example], &[]), 0);
        for used in ["core", "sqlite", "fakes", "contract"] {
            let uses = [used];
            let example = ("files", folder, &uses as &[_], &[] as &[_]);
            let members = [PORTS, CORE, SQLITE, FAKES, CONTRACT, example];
            assert_eq!(findings(&members, &[]), 1, "{used}");
        }
        let tests_use = ("files", folder, &["ports"] as &[_], &["fakes"] as &[_]);
        assert_eq!(findings(&[PORTS, FAKES, tests_use], &[]), 1);
        let application = ("shop", "examples/shop", &["ports"] as &[_], &[] as &[_]);
        assert_eq!(findings(&[PORTS, application], &[]), 1);
    }

    #[test]
    fn a_crate_in_an_unknown_folder_is_found() {
        assert_eq!(findings(&[("stray", "tools/stray", &[], &[])], &[]), 1);
    }

    #[test]
    fn a_forbidden_crate_is_found_however_far_away_and_its_way_is_told() {
        let core = ("core", "core", &["helper"] as &[_], &[] as &[_]);
        let outside: [(&str, &[&str]); 4] = [
            ("helper", &["deep"]),
            ("deep", &["tokio-util"]),
            ("tokio-util", &["tokio"]),
            ("tokio", &[]),
        ];
        let found = graph(&[core], &outside).findings(&[]);
        assert_eq!(
            found,
            ["core reaches tokio-util: core -> helper -> deep -> tokio-util"]
        );
    }

    #[test]
    fn an_adapter_may_reach_what_the_core_may_not() {
        let member = (
            "sqlite",
            "adapters/driven/sqlite",
            &["sqlx"] as &[_],
            &[] as &[_],
        );
        assert_eq!(
            findings(&[member], &[("sqlx", &["tokio"]), ("tokio", &[])]),
            0
        );
    }

    #[test]
    fn an_excuse_covers_its_own_edge_only() {
        let excuse = || {
            [Excuse {
                from: "hashing",
                to: "getrandom",
                reason: "",
            }]
        };
        let core = ("core", "core", &["hashing"] as &[_], &[] as &[_]);
        let outside: [(&str, &[&str]); 2] = [("hashing", &["getrandom"]), ("getrandom", &[])];
        assert_eq!(graph(&[core], &outside).findings(&excuse()).len(), 0);
        let core = (
            "core",
            "core",
            &["hashing", "getrandom"] as &[_],
            &[] as &[_],
        );
        assert_eq!(graph(&[core], &outside).findings(&excuse()).len(), 1);
    }

    #[test]
    fn an_excuse_that_excuses_nothing_is_found() {
        let excuse = [Excuse {
            from: "hashing",
            to: "getrandom",
            reason: "",
        }];
        assert_eq!(graph(&[CORE, PORTS], &[]).findings(&excuse).len(), 1);
    }

    #[test]
    fn the_graph_of_this_workspace_has_its_crates_and_what_is_excused() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let graph = Graph::of(&workspace::metadata(&root).unwrap());
        assert_eq!(graph.members["xtask"].folder, "xtask");
        assert_eq!(graph.members["seaworthy"].folder, "");
        // Nothing but the excuse stands between the core and a finding, so the way there is really walked.
        let found = graph.findings(&[]);
        assert!(
            found
                .iter()
                .any(|finding| finding.contains("seaworthy-core reaches getrandom")),
            "{found:?}"
        );
    }

    #[test]
    fn patterns_match_whole_names_or_beginnings() {
        for name in [
            "tokio",
            "tokio-util",
            "aws-sdk-s3",
            "rand_core",
            "sqlx-core",
            "opentelemetry_sdk",
        ] {
            assert!(is_forbidden(name), "{name}");
        }
        for name in ["tokionic", "randomish", "times", "serde", "hyperspace"] {
            assert!(!is_forbidden(name), "{name}");
        }
    }
}
