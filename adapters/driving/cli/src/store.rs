//! Where runs are kept.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::CliError;

const FOLDER: &str = ".seaworthy";
const FILE: &str = "state.db";

/// A place to keep runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// A database file.
    Sqlite {
        /// Where it is.
        path: PathBuf,
        /// Whether it is the one that nobody named: then its folder is ours.
        default: bool,
    },
    /// This process.
    Memory,
}

impl Store {
    /// The store that `url` names, or the default one of the project that `workspace` (canonical) belongs to.
    pub(crate) fn find(url: Option<&str>, workspace: &Path) -> Result<Self, CliError> {
        let Some(url) = url else {
            return Ok(Self::Sqlite {
                path: project_of(workspace).join(FOLDER).join(FILE),
                default: true,
            });
        };
        let wrong = |why: &str| {
            CliError::Usage(format!(
                "--store {url:?} {why}; write sqlite:PATH or memory:"
            ))
        };
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(wrong("has something behind `memory:`")),
            Some(("sqlite", "")) => Err(wrong("names no file")),
            Some(("sqlite", path)) if path.starts_with("//") && !path.starts_with("///") => {
                Err(wrong("names a host"))
            }
            Some(("sqlite", path)) => {
                let path = std::path::absolute(path)
                    .map_err(|source| CliError::io(format!("find the store {path}"), source))?;
                Ok(Self::Sqlite {
                    path,
                    default: false,
                })
            }
            _ => Err(wrong("is no store")),
        }
    }

    /// Makes the default store's folder, which no version control should pick up.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        let Self::Sqlite {
            path,
            default: true,
        } = self
        else {
            return Ok(());
        };
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        let cannot = |source| {
            CliError::io(
                format!(
                    "make the folder {} for the store (name another place with --store sqlite:PATH)",
                    folder.display()
                ),
                source,
            )
        };
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(cannot(error)),
        }
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.join(".gitignore"))
        {
            Ok(mut file) => file.write_all(b"*\n").map_err(cannot),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(cannot(error)),
        }
    }

    /// How a person names it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { path, .. } => format!("sqlite:{}", path.display()),
            Self::Memory => "memory:".to_owned(),
        }
    }
}

/// The nearest folder at or above `workspace` that is a project, else `workspace`.
fn project_of(workspace: &Path) -> &Path {
    workspace
        .ancestors()
        .find(|folder| folder.join(FOLDER).is_dir() || folder.join(".git").exists())
        .unwrap_or(workspace)
}

/// What must be added to a command typed in the current directory to reach `store`.
pub(crate) fn flag_for(store: &Store) -> String {
    let here = std::env::current_dir()
        .and_then(|here| here.canonicalize())
        .ok();
    let usual = here.and_then(|here| Store::find(None, &here).ok());
    match (store, usual) {
        (Store::Sqlite { path, .. }, Some(Store::Sqlite { path: usual, .. })) if *path == usual => {
            String::new()
        }
        _ => format!(" --store {}", quoted(&store.url())),
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@%=,".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_a_url() {
        let here = Path::new("/");
        let named = Store::find(Some("sqlite:/tmp/a b.db"), here).unwrap();
        assert_eq!(
            named,
            Store::Sqlite {
                path: "/tmp/a b.db".into(),
                default: false
            }
        );
        assert_eq!(Store::find(Some("memory:"), here).unwrap(), Store::Memory);
        for wrong in [
            "",
            "memory",
            "memory:x",
            "sqlite",
            "sqlite:",
            "sqlite://host/x",
            "postgres:x",
            "/tmp/x",
        ] {
            assert!(
                matches!(Store::find(Some(wrong), here), Err(CliError::Usage(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("sqlite:/a/b.db"), "sqlite:/a/b.db");
        assert_eq!(quoted("sqlite:/it's here"), "'sqlite:/it'\\''s here'");
    }
}
