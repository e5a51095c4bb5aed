//! Runs a command to its end and keeps what it says.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use seaworthy_ports::sandbox::{
    Captured, ExecOutput, MAX_OUTPUT_BYTES, OutputChunk, OutputSink, OutputStream, SandboxError,
};

use crate::command::{Input, Running};

/// How long output is waited for after everything that could write it should be dead. Only what has escaped a killed
/// supervisor makes it last.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The start of an output.
#[derive(Default)]
struct Kept {
    bytes: BytesMut,
    total: u64,
}

impl Kept {
    fn add(&mut self, bytes: &Bytes) {
        self.total += bytes.len() as u64;
        let room = MAX_OUTPUT_BYTES.saturating_sub(self.bytes.len());
        let fits = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend_from_slice(fits);
    }

    fn captured(self) -> Captured {
        Captured {
            bytes: self.bytes.freeze(),
            total: self.total,
        }
    }
}

/// Waits for the end of `running`, which gets no more input.
pub(crate) async fn finish(
    mut running: Running,
    begun: Instant,
    on_output: Option<OutputSink>,
) -> Result<ExecOutput, SandboxError> {
    // Refused only if it has ended already.
    let _told = running.input.try_send(Input::End);
    let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
    let mut keep = |chunk: &OutputChunk| {
        match chunk.stream {
            OutputStream::Stdout => stdout.add(&chunk.bytes),
            OutputStream::Stderr => stderr.add(&chunk.bytes),
        }
        if let Some(show) = &on_output {
            show(chunk);
        }
    };
    let (_, closed) = tokio::sync::mpsc::channel(1);
    let mut output = std::mem::replace(&mut running.output, closed);
    let outcome = {
        let drained = async {
            while let Some(chunk) = output.recv().await {
                keep(&chunk);
            }
        };
        tokio::pin!(drained);
        tokio::select! {
            () = &mut drained => running.outcome().await,
            outcome = running.outcome() => {
                let _cut_short = tokio::time::timeout(LAST_WORDS, drained).await;
                outcome
            }
        }
    };
    let status = outcome.into_result("exec")?;
    Ok(ExecOutput {
        status,
        stdout: stdout.captured(),
        stderr: stderr.captured(),
        duration: begun.elapsed(),
    })
}
