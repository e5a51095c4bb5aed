//! Tells the tests whether they have servers: without one, those that need it are *ignored*, with a reason, and never pass
//! unrun.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_postgres, has_rotel, has_small_model)");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_POSTGRES");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_ROTEL");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_SMALL_MODEL");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("SEAWORTHY_TEST_POSTGRES").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_postgres");
    }
    if std::env::var_os("SEAWORTHY_TEST_ROTEL").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_rotel");
    }
    if std::env::var_os("SEAWORTHY_TEST_SMALL_MODEL").is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_small_model");
    }
}
