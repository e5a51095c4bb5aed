//! Tells the tests which servers and tools they have: without one they are *ignored*, with a reason, and never pass unrun.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (variable, flag) in [
        ("SEAWORTHY_TEST_AIMOCK", "has_aimock"),
        ("SEAWORTHY_TEST_SMALL_MODEL", "has_small_model"),
        ("SEAWORTHY_TEST_MCP", "has_mcp"),
        ("SEAWORTHY_TEST_MCP_TOOLS", "has_mcp_tools"),
        ("SEAWORTHY_TEST_MCP_NEXT", "has_mcp_next"),
        ("SEAWORTHY_TEST_LITELLM", "has_litellm"),
        ("SEAWORTHY_TEST_PHOENIX", "has_phoenix"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({flag})");
        println!("cargo::rerun-if-env-changed={variable}");
        if std::env::var_os(variable).is_some_and(|url| !url.is_empty()) {
            println!("cargo::rustc-cfg={flag}");
        }
    }
}
