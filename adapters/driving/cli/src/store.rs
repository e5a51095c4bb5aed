//! Where runs are kept.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::postgres_url::PostgresUrl;

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
    /// A database server.
    Postgres {
        /// Where it is.
        url: PostgresUrl,
        /// The folder for what is not in the database: large data, and which attempt of a run may act on this host.
        data: PathBuf,
        /// What must be added to a command to reach the store, as far as it can be shown.
        flag: String,
    },
    /// This process.
    Memory,
}

/// What was said of where runs are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// The URL on the command line.
    pub(crate) store: Option<String>,
    /// The folder on the command line.
    pub(crate) data: Option<PathBuf>,
    /// The URL in the environment.
    pub(crate) usual_store: Option<String>,
    /// The folder in the environment.
    pub(crate) usual_data: Option<PathBuf>,
    /// Where programs keep what is this user's.
    pub(crate) data_home: Option<PathBuf>,
}

impl Named {
    /// The folder of the store at `url`.
    fn data(&self, url: &PostgresUrl) -> Result<PathBuf, CliError> {
        let usual = || {
            let home = self.data_home.as_ref()?;
            Some(home.join("seaworthy").join(url.identity()))
        };
        let folder = self
            .data
            .clone()
            .or_else(|| self.usual_data.clone())
            .or_else(usual)
            .ok_or_else(|| {
                CliError::Usage(
                    "a database server needs a folder for large data, and there is no home to put it in; name one with --data"
                        .to_owned(),
                )
            })?;
        std::path::absolute(&folder)
            .map_err(|source| CliError::io(format!("find the folder {}", folder.display()), source))
    }

    /// What must be added to a command of this user to reach the store at `url`.
    fn flag(&self, url: &PostgresUrl) -> String {
        let mut flag = String::new();
        if self.store.is_some() {
            flag.push_str(&format!(" --store {}", quoted(&url.to_string())));
        }
        if let Some(data) = &self.data {
            flag.push_str(&format!(" --data {}", quoted(&data.display().to_string())));
        }
        flag
    }
}

impl Store {
    /// The store that was named, or the default one of the project that `workspace` (canonical) belongs to.
    pub(crate) fn find(named: &Named, workspace: &Path) -> Result<Self, CliError> {
        let store = match named.store.as_deref().or(named.usual_store.as_deref()) {
            Some(url) => Self::of(url, named)?,
            None => Self::of_project(workspace),
        };
        if named.data.is_some() && !matches!(store, Self::Postgres { .. }) {
            return Err(CliError::Usage(
                "--data is for a store of a database server; what belongs to a file lies beside it"
                    .to_owned(),
            ));
        }
        Ok(store)
    }

    fn of_project(workspace: &Path) -> Self {
        Self::Sqlite {
            path: project_of(workspace).join(FOLDER).join(FILE),
            default: true,
        }
    }

    fn of(url: &str, named: &Named) -> Result<Self, CliError> {
        let wrong = |why: &str| {
            // What is wrong may still have a password.
            let shown = match url.split_once(':') {
                Some((scheme, rest)) if rest.contains('@') => format!("{scheme}:…"),
                _ => url.to_owned(),
            };
            CliError::Usage(format!(
                "--store {shown:?} {why}; write sqlite:PATH, postgres://USER@HOST/DATABASE or memory:"
            ))
        };
        if let Some(url) = PostgresUrl::parse(url) {
            return Ok(Self::Postgres {
                data: named.data(&url)?,
                flag: named.flag(&url),
                url,
            });
        }
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
            Self::Postgres { url, .. } => url.to_string(),
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
    let usual = here.map(|here| Store::of_project(&here));
    match (store, usual) {
        (Store::Postgres { flag, .. }, _) => flag.clone(),
        (Store::Sqlite { path, .. }, Some(Store::Sqlite { path: usual, .. })) if *path == usual => {
            String::new()
        }
        _ => format!(" --store {}", quoted(&store.url())),
    }
}

pub(crate) fn quoted(text: &str) -> String {
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
        let found = |url: &str| {
            let named = Named {
                store: Some(url.to_owned()),
                ..Named::default()
            };
            Store::find(&named, Path::new("/"))
        };
        assert_eq!(
            found("sqlite:/tmp/a b.db").unwrap(),
            Store::Sqlite {
                path: "/tmp/a b.db".into(),
                default: false
            }
        );
        assert_eq!(found("memory:").unwrap(), Store::Memory);
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
            assert!(matches!(found(wrong), Err(CliError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_server_has_a_folder_for_what_is_not_in_its_database() {
        let url = "postgres://me:secret@db.example/app";
        let folder = |named: &Named| match Store::find(named, Path::new("/")) {
            Ok(Store::Postgres { data, .. }) => Some(data),
            _ => None,
        };
        let mut named = Named {
            store: Some(url.to_owned()),
            ..Named::default()
        };
        assert_eq!(folder(&named), None);
        named.data_home = Some("/home/me/share".into());
        let usual = "/home/me/share/seaworthy/db_example-5432-app-seaworthy";
        assert_eq!(folder(&named), Some(usual.into()));
        named.usual_data = Some("/usual".into());
        assert_eq!(folder(&named), Some("/usual".into()));
        named.data = Some("/named".into());
        assert_eq!(folder(&named), Some("/named".into()));
        named.store = Some("sqlite:/a.db".to_owned());
        assert_eq!(folder(&named), None);
    }

    #[test]
    fn what_is_said_of_a_store_has_no_password() {
        let named = |store: Option<&str>, usual: Option<&str>| Named {
            store: store.map(str::to_owned),
            usual_store: usual.map(str::to_owned),
            usual_data: Some("/data".into()),
            ..Named::default()
        };
        let url = "postgres://me:secret@db/app";
        let found = Store::find(&named(Some(url), None), Path::new("/")).unwrap();
        assert_eq!(flag_for(&found), " --store 'postgres://me:***@db/app'");
        assert!(!format!("{found:?}").contains("secret"));
        let usual = Store::find(&named(None, Some(url)), Path::new("/")).unwrap();
        assert_eq!(flag_for(&usual), "");
        let wrong = Store::find(
            &named(Some("postgress://me:secret@db"), None),
            Path::new("/"),
        );
        assert!(!wrong.unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("sqlite:/a/b.db"), "sqlite:/a/b.db");
        assert_eq!(quoted("sqlite:/it's here"), "'sqlite:/it'\\''s here'");
    }
}
