//! Tells the tests whether they have servers: without one, those that need it are *ignored*, with a reason, and never pass
//! unrun.

use std::path::Path;

const RESTATE: &str = "SEAWORTHY_TEST_RESTATE_PROGRAM";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_postgres, has_restate, has_rotel)");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_POSTGRES");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_ROTEL");
    println!("cargo::rerun-if-env-changed={RESTATE}");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("SEAWORTHY_TEST_POSTGRES").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_postgres");
    }
    if std::env::var_os("SEAWORTHY_TEST_ROTEL").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_rotel");
    }
    if std::env::var_os(RESTATE).is_some_and(|program| Path::new(&program).is_file()) {
        println!("cargo::rustc-cfg=has_restate");
    }
}
