//! A sandbox behind faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::sandbox::{
    Enforcement, Exec, ExecOutput, FileContent, Kind, Listing, Metadata, Sandbox, SandboxError,
    SandboxProcess, SandboxSession, SandboxSpec,
};

use super::{Faults, wrapper};

wrapper!(
    /// A sandbox behind faults, sessions included. No sandbox runs a command twice of itself: a duplicated
    /// `sandbox exec` shows what a test that counts effects must find.
    FaultySandbox, Sandbox
);

const FAILED: Kind = Kind::Unavailable;

#[async_trait]
impl Sandbox for FaultySandbox {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Enforcement {
        self.inner.capabilities()
    }

    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        let call = || self.inner.open(spec.clone());
        let inner = self.faults.port("sandbox open", FAILED, call).await?;
        let faults = self.faults.clone();
        Ok(Arc::new(FaultySession { inner, faults }))
    }
}

#[derive(Debug)]
struct FaultySession {
    inner: Arc<dyn SandboxSession>,
    faults: Faults,
}

#[async_trait]
impl SandboxSession for FaultySession {
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError> {
        let call = || self.inner.exec(exec.clone());
        self.faults.port("sandbox exec", FAILED, call).await
    }

    async fn spawn(&self, exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        let call = || self.inner.spawn(exec.clone());
        self.faults.port("sandbox spawn", FAILED, call).await
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        let call = || self.inner.read(path, offset, limit);
        self.faults.port("sandbox read", FAILED, call).await
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        let call = || self.inner.write(path, content.clone());
        self.faults.port("sandbox write", FAILED, call).await
    }

    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        let call = || self.inner.list(path, limit);
        self.faults.port("sandbox list", FAILED, call).await
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        let call = || self.inner.stat(path);
        self.faults.port("sandbox stat", FAILED, call).await
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let call = || self.inner.remove(path);
        self.faults.port("sandbox remove", FAILED, call).await
    }

    async fn close(&self, last: bool) -> Result<(), SandboxError> {
        let call = || self.inner.close(last);
        self.faults.port("sandbox close", FAILED, call).await
    }
}
