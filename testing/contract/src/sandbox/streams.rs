//! SB-6: output while the command runs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use seaworthy_ports::Latch;
use seaworthy_ports::LatchSetter;
use seaworthy_ports::sandbox::{ExitStatus, OutputChunk, OutputSink, OutputStream, SandboxSession};

use super::Harness;
use super::world::{World, ran, sh};
use crate::outcome::{Outcome, ok, same, within};

/// Does not go on before somebody has heard it.
const TALK: &str = "echo first; until [ -e go ]; do sleep 0.01; done; echo second";

/// What was shown so far.
#[derive(Clone, Debug, Default)]
struct Shown(Arc<Mutex<Vec<OutputChunk>>>);

impl Shown {
    /// Keeps what is shown, and tells of the first piece.
    fn sink(&self, first: LatchSetter) -> OutputSink {
        let shown = Arc::clone(&self.0);
        Arc::new(move |chunk| {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.push(chunk.clone());
            first.set();
        })
    }

    fn of(&self, stream: OutputStream) -> Vec<u8> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces = shown.iter().filter(|chunk| chunk.stream == stream);
        pieces.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }
}

async fn let_go(session: &dyn SandboxSession) -> Outcome {
    ok(
        "wrote the file that the command waits for",
        session.write("go", Bytes::new()).await,
    )
}

/// SB-6.
pub async fn output_is_shown_while_the_command_runs<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let (first, heard) = Latch::new();
    let shown = Shown::default();
    let mut exec = sh(TALK);
    exec.on_output = Some(shown.sink(first));
    let listen = async {
        within(
            "waited to be shown the first output of a command that runs",
            heard.wait(),
        )
        .await?;
        same(
            "looked at the first output",
            shown.of(OutputStream::Stdout),
            b"first\n".to_vec(),
        )?;
        let_go(&*session).await
    };
    let (output, listened) = tokio::join!(session.exec(exec), listen);
    listened?;
    let output = ok("ran a command that is heard", output)?;
    same(
        "ran a command that is heard",
        output.status,
        ExitStatus::Code(0),
    )?;
    same(
        "looked at all that was shown",
        shown.of(OutputStream::Stdout),
        b"first\nsecond\n".to_vec(),
    )
}

/// SB-6.
pub async fn what_is_shown_is_what_is_kept<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let (first, _heard) = Latch::new();
    let shown = Shown::default();
    let mut exec =
        sh("i=0; while [ $i -lt 2000 ]; do echo out $i; echo error $i >&2; i=$((i + 1)); done");
    exec.on_output = Some(shown.sink(first));
    let output = ran(&*session, exec).await?;
    for (stream, kept) in [
        (OutputStream::Stdout, output.stdout.bytes),
        (OutputStream::Stderr, output.stderr.bytes),
    ] {
        let did = format!("compared what was shown of {stream:?} with what was kept");
        same(did, Bytes::from(shown.of(stream)), kept)?;
    }
    same(
        "counted the lines",
        shown
            .of(OutputStream::Stdout)
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        2_000,
    )
}

/// SB-6.
pub async fn a_spawned_command_is_heard_while_it_runs<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut process = ok("spawned a command", session.spawn(sh(TALK)).await)?;
    let mut said = Vec::new();
    while said.len() < b"first\n".len() {
        let chunk = within("listened to a command that runs", process.output()).await?;
        said.extend(chunk.map(|chunk| chunk.bytes).unwrap_or_default());
    }
    let_go(&*session).await?;
    while let Some(chunk) = within("listened until it ended", process.output()).await? {
        said.extend(chunk.bytes);
    }
    same(
        "listened to a spawned command",
        said,
        b"first\nsecond\n".to_vec(),
    )
}
