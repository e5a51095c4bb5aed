//! Tells the tests whether they have servers: without one, those that need it are *ignored*, with a reason, and never pass
//! unrun.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_mcp, has_postgres, has_rotel)");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_MCP");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_POSTGRES");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_ROTEL");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("SEAWORTHY_TEST_MCP").is_some_and(|place| !place.is_empty()) {
        println!("cargo::rustc-cfg=has_mcp");
    }
    if std::env::var_os("SEAWORTHY_TEST_POSTGRES").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_postgres");
    }
    if std::env::var_os("SEAWORTHY_TEST_ROTEL").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_rotel");
    }
}
