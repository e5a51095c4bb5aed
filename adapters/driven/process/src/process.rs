//! A long-lived command.

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::sandbox::{ExitStatus, Kind, OutputChunk, SandboxError, SandboxProcess};

use crate::command::{Input, Running};
use crate::error;

/// Dropping it kills the command.
#[derive(Debug)]
pub(crate) struct ProcessHandle {
    running: Running,
    is_input_closed: bool,
}

impl ProcessHandle {
    pub(crate) fn new(running: Running) -> Self {
        Self {
            running,
            is_input_closed: false,
        }
    }

    async fn send(&mut self, operation: &'static str, input: Input) -> Result<(), SandboxError> {
        // Room in the queue, or the end of the command, which the driver takes the queue away at.
        self.running
            .input
            .send(input)
            .await
            .map_err(|_| error::new(Kind::Rejected, operation, "the command has ended"))
    }
}

#[async_trait]
impl SandboxProcess for ProcessHandle {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SandboxError> {
        if self.is_input_closed {
            return Err(error::new(
                Kind::Rejected,
                "write",
                "standard input is closed",
            ));
        }
        self.send("write", Input::Bytes(bytes)).await
    }

    async fn close_stdin(&mut self) -> Result<(), SandboxError> {
        if self.is_input_closed {
            return Ok(());
        }
        self.is_input_closed = true;
        // A command that has ended reads no more anyway.
        let _ended = self.send("close_stdin", Input::End).await;
        Ok(())
    }

    async fn output(&mut self) -> Option<OutputChunk> {
        self.running.output.recv().await
    }

    async fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        self.running.outcome().await.into_result("wait")
    }

    async fn kill(&mut self) -> Result<(), SandboxError> {
        self.running.kill.kill();
        self.running.outcome().await.into_result("kill").map(drop)
    }
}
