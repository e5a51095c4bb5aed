//! Tells the tests whether they have an issuer of access tokens: without one, those that need it are *ignored*, with a
//! reason, and never pass unrun.

const ISSUER: &str = "SEAWORTHY_TEST_ISSUER";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_issuer)");
    println!("cargo::rerun-if-env-changed={ISSUER}");
    if std::env::var_os(ISSUER).is_some_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=has_issuer");
    }
}
