//! Paths as callers write them.

use std::path::{Component, Path, PathBuf};

use seaworthy_ports::sandbox::{Kind, SandboxError};

use crate::error;

/// A path beneath the workspace; `.` for the workspace itself.
///
/// A parent segment is refused even where it would stay inside: what it means would depend on links.
pub(super) fn parse(path: &str, operation: &'static str) -> Result<PathBuf, SandboxError> {
    if path.contains('\0') {
        return Err(error::new(
            Kind::Rejected,
            operation,
            "the path has a zero byte",
        ));
    }
    let mut parsed = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(segment) => parsed.push(segment),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(error::new(
                    Kind::Outside,
                    operation,
                    "paths are relative to the workspace and have no parent segments",
                ));
            }
        }
    }
    if parsed.as_os_str().is_empty() {
        parsed.push(".");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &str) -> Option<Kind> {
        parse(path, "read").err().map(|error| error.kind())
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        assert_eq!(kind("/etc/passwd"), Some(Kind::Outside));
        assert_eq!(kind("../a"), Some(Kind::Outside));
        assert_eq!(kind("a/../../b"), Some(Kind::Outside));
        assert_eq!(kind("a\0b"), Some(Kind::Rejected));
    }

    #[test]
    fn the_workspace_itself_has_two_names() {
        for path in ["", ".", "./"] {
            assert_eq!(parse(path, "list").unwrap(), Path::new("."));
        }
        assert_eq!(parse("./a//b/", "list").unwrap(), Path::new("a/b"));
        assert_eq!(parse("..a", "list").unwrap(), Path::new("..a"));
    }
}
