//! A sandbox session over a map of files, whose commands are a closure. It never waits.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use seaworthy_core::tool::{Tool, ToolAnswer, ToolContext, ToolFailure, Verdict};
use seaworthy_ports::sandbox::{
    Captured, DirEntry, Exec, ExecOutput, ExitStatus, FileContent, FileKind, Kind, Listing,
    Metadata, SandboxError, SandboxProcess, SandboxSession,
};
use seaworthy_ports::{CallId, Latch, TraceContext, async_trait};
use serde_json::Value;

type Run = dyn Fn(&Exec) -> Result<ExecOutput, SandboxError> + Send + Sync;

pub(crate) struct FakeSession {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    run: Box<Run>,
    /// What writes fail with instead.
    refuses_writes: Option<(Kind, bool)>,
}

impl fmt::Debug for FakeSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSession")
    }
}

fn error(kind: Kind) -> SandboxError {
    SandboxError::new(kind, "fake", "call", "as the test wants it")
}

impl FakeSession {
    pub(crate) fn with_files(files: &[(&str, &str)]) -> Self {
        Self::with_bytes(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())),
        )
    }

    pub(crate) fn with_bytes(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self {
            files: Mutex::new(files.into_iter().collect()),
            run: Box::new(|_exec| Err(error(Kind::NotFound))),
            refuses_writes: None,
        }
    }

    pub(crate) fn running(
        run: impl Fn(&Exec) -> Result<ExecOutput, SandboxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            run: Box::new(run),
            ..Self::with_files(&[])
        }
    }

    pub(crate) fn refusing_writes(mut self, kind: Kind, effect_unknown: bool) -> Self {
        self.refuses_writes = Some((kind, effect_unknown));
        self
    }

    pub(crate) fn file(&self, path: &str) -> Option<String> {
        let files = self.files.lock().unwrap();
        files
            .get(path)
            .map(|bytes| String::from_utf8(bytes.clone()).unwrap())
    }

    fn check(path: &str) -> Result<(), SandboxError> {
        if path.starts_with('/') || path.split('/').any(|segment| segment == "..") {
            return Err(error(Kind::Outside));
        }
        Ok(())
    }
}

#[async_trait]
impl SandboxSession for FakeSession {
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError> {
        Self::check(&exec.cwd)?;
        (self.run)(&exec)
    }

    async fn spawn(&self, _exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        Err(error(Kind::Unsupported))
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        Self::check(path)?;
        let files = self.files.lock().unwrap();
        let Some(bytes) = files.get(path) else {
            let is_directory = files
                .keys()
                .any(|file| file.starts_with(&format!("{path}/")));
            return Err(error(if is_directory {
                Kind::WrongType
            } else {
                Kind::NotFound
            }));
        };
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start.saturating_add(limit as usize));
        Ok(FileContent {
            bytes: Bytes::copy_from_slice(&bytes[start..end]),
            size: bytes.len() as u64,
        })
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        Self::check(path)?;
        if let Some((kind, effect_unknown)) = self.refuses_writes {
            let error = error(kind);
            return Err(if effect_unknown {
                error.with_unknown_effect()
            } else {
                error
            });
        }
        self.files
            .lock()
            .unwrap()
            .insert(path.to_owned(), content.to_vec());
        Ok(())
    }

    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        Self::check(path)?;
        let prefix = if path == "." {
            String::new()
        } else {
            format!("{path}/")
        };
        let files = self.files.lock().unwrap();
        let mut entries = BTreeMap::new();
        for (file, bytes) in files.iter() {
            let Some(rest) = file.strip_prefix(&prefix) else {
                continue;
            };
            let (name, metadata) = match rest.split_once('/') {
                Some((name, _)) => (
                    name,
                    Metadata {
                        kind: FileKind::Directory,
                        size: 0,
                    },
                ),
                None => (
                    rest,
                    Metadata {
                        kind: FileKind::File,
                        size: bytes.len() as u64,
                    },
                ),
            };
            entries.insert(name.to_owned(), metadata);
        }
        if entries.is_empty() && path != "." {
            return Err(error(if files.contains_key(path) {
                Kind::WrongType
            } else {
                Kind::NotFound
            }));
        }
        let is_cut = entries.len() > limit;
        let entries = entries.into_iter().take(limit);
        Ok(Listing {
            entries: entries
                .map(|(name, metadata)| DirEntry { name, metadata })
                .collect(),
            is_cut,
        })
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        Self::check(path)?;
        let files = self.files.lock().unwrap();
        Ok(files.get(path).map(|bytes| Metadata {
            kind: FileKind::File,
            size: bytes.len() as u64,
        }))
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        Self::check(path)?;
        self.files.lock().unwrap().remove(path);
        Ok(())
    }

    async fn close(&self, _last: bool) -> Result<(), SandboxError> {
        Ok(())
    }
}

/// What a command did.
pub(crate) fn output(status: ExitStatus, stdout: &[u8], stderr: &str) -> ExecOutput {
    let captured = |bytes: &[u8]| Captured {
        bytes: Bytes::copy_from_slice(bytes),
        total: bytes.len() as u64,
    };
    ExecOutput {
        status,
        stdout: captured(stdout),
        stderr: captured(stderr.as_bytes()),
        duration: Duration::ZERO,
    }
}

/// The place of every call in its trace.
pub(crate) const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) fn context(session: &Arc<FakeSession>) -> ToolContext {
    let session: Arc<FakeSession> = Arc::clone(session);
    ToolContext {
        session,
        call: CallId::new("run_1.c1").unwrap(),
        idempotency_key: "swk_1".to_owned(),
        base_dir: PathBuf::from("/agents/one"),
        timeout: Duration::from_secs(5),
        cancel: Latch::never(),
        on_output: None,
        trace: Some(TraceContext::parse(TRACEPARENT, Some("vendor=1")).unwrap()),
        servers: None,
    }
}

pub(crate) fn call(tool: &dyn Tool, session: &Arc<FakeSession>, arguments: Value) -> ToolAnswer {
    tool.call(context(session), arguments)
        .now_or_never()
        .expect("the fake never waits")
}

pub(crate) fn verify(tool: &dyn Tool, session: &Arc<FakeSession>, arguments: Value) -> Verdict {
    tool.verify(context(session), arguments)
        .now_or_never()
        .expect("the fake never waits")
}

pub(crate) fn succeeded(answer: ToolAnswer) -> Value {
    match answer {
        ToolAnswer::Succeeded(value) | ToolAnswer::Showed(value, _) => value,
        ToolAnswer::FailedNoEffect(ToolFailure { code, message })
        | ToolAnswer::Failed(ToolFailure { code, message }) => panic!("{code}: {message}"),
        ToolAnswer::Changed(now) => panic!("changed to {}", now.digest),
        ToolAnswer::Deferred(taken) => panic!("deferred as {:?}", taken.task),
    }
}

pub(crate) fn refused(answer: ToolAnswer) -> &'static str {
    match answer {
        ToolAnswer::FailedNoEffect(failure) => failure.code,
        other => panic!("expected a failure without effect, got {other:?}"),
    }
}
