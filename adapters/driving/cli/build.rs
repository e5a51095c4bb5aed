//! Tells the tests whether they have servers: without one, those that need it are *ignored*, with a reason, and never pass
//! unrun.

use std::path::Path;

/// What names a server that runs or tools that are installed, and what is configured where there is one.
const SERVERS: [(&str, &str); 5] = [
    ("SEAWORTHY_TEST_MCP", "has_mcp"),
    ("SEAWORTHY_TEST_MCP_TOOLS", "has_mcp_tools"),
    ("SEAWORTHY_TEST_POSTGRES", "has_postgres"),
    ("SEAWORTHY_TEST_ROTEL", "has_rotel"),
    ("SEAWORTHY_TEST_SMALL_MODEL", "has_small_model"),
];
/// The program of a server that tests start themselves.
const RESTATE: &str = "SEAWORTHY_TEST_RESTATE_PROGRAM";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (variable, cfg) in SERVERS {
        let is_set = std::env::var_os(variable).is_some_and(|url| !url.is_empty());
        tell(variable, cfg, is_set);
    }
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    println!("cargo::rustc-check-cfg=cfg(has_script)");
    if is_linux && is_in_path("script") {
        println!("cargo::rustc-cfg=has_script");
    }
    let is_there = std::env::var_os(RESTATE).is_some_and(|program| Path::new(&program).is_file());
    tell(RESTATE, "has_restate", is_there);
}

/// Whether the search path has this program.
fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn tell(variable: &str, cfg: &str, is_there: bool) {
    println!("cargo::rustc-check-cfg=cfg({cfg})");
    println!("cargo::rerun-if-env-changed={variable}");
    if is_there {
        println!("cargo::rustc-cfg={cfg}");
    }
}
