//! Tells the tests whether they have a Restate server to start. Without one they are *ignored*, with a reason, and never
//! pass unrun.

use std::path::Path;

const PROGRAM: &str = "SEAWORTHY_TEST_RESTATE_PROGRAM";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_restate)");
    println!("cargo::rerun-if-env-changed={PROGRAM}");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(program) = std::env::var_os(PROGRAM) else {
        return;
    };
    let program = Path::new(&program);
    if program.is_file() {
        println!("cargo::rustc-cfg=has_restate");
        println!("cargo::rustc-env={PROGRAM}={}", program.display());
    }
}
