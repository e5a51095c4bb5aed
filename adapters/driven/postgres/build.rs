//! Tells the tests what they have: a server, and the programs to start another one. What they have not is *ignored*, with
//! a reason, and never passes unrun.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_postgres, has_postgres_programs)");
    println!("cargo::rerun-if-env-changed=SEAWORTHY_TEST_POSTGRES");
    println!("cargo::rerun-if-changed=build.rs");
    let server = std::env::var_os("SEAWORTHY_TEST_POSTGRES").filter(|url| !url.is_empty());
    if server.is_none() {
        return;
    }
    println!("cargo::rustc-cfg=has_postgres");
    if let Some(folder) = programs() {
        println!("cargo::rustc-cfg=has_postgres_programs");
        println!(
            "cargo::rustc-env=SEAWORTHY_POSTGRES_PROGRAMS={}",
            folder.display()
        );
    }
}

/// The folder of `initdb` and `postgres`: on the path, or where Debian keeps the newest of them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let has_both =
        |folder: &Path| folder.join("initdb").exists() && folder.join("postgres").exists();
    folders.into_iter().find(|folder| has_both(folder))
}
