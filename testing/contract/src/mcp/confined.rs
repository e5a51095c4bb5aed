//! MC-3: servers inside a sandbox session.

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::Kind;
use serde_json::json;

use super::Harness;
use super::script::Seen;
use super::stage::{Stage, begun, call, done, fails, is_usable};
use crate::outcome::{Halt, Outcome, ok, within};
use crate::process;

/// Does what [`a_killed_worker_leaves_no_confined_server`] wants of its process: call it in an ignored test that
/// [`Harness::another_process`] starts.
pub fn work<H: Harness>() -> Outcome {
    process::work(async |job| {
        let stage = Stage::on(H::start().await, "stays", job.journal).await?;
        let session = stage.session().await?;
        is_usable(&session, "connecting").await?;
        process::let_go().await;
        Ok(())
    })
}

/// Where servers run inside a sandbox session.
async fn stage<H: Harness>(harness: H, script: &str) -> Result<Stage<H>, Halt> {
    if !harness.mcp().capabilities().sandboxed_stdio {
        return Err(Halt::NotDeclared {
            capability: "sandboxed_stdio",
            reason: "it starts nothing inside a sandbox",
        });
    }
    if harness.sandbox().await.is_none() {
        return Err(Halt::NotCheckable(
            "the harness gives no session of a sandbox",
        ));
    }
    Stage::of(harness, script).await
}

/// MC-3.
pub async fn a_confined_server_ends_with_its_sandbox_session<H: Harness>(harness: H) -> Outcome {
    let stage = stage(harness, "stays").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    let slow = begun(&session, call("never", json!({})));
    stage.until(&Seen::Called("never".to_owned()), 1).await?;
    let did = "closed the sandbox session of a server with a call in flight";
    if let Some(sandbox) = stage.harness.sandbox().await {
        ok(did, within(did, sandbox.close(true)).await?)?;
    }
    stage.until_gone(did).await?;
    let ends = [Kind::Unavailable];
    fails(did, done(did, slow).await?, &ends, Effect::Unknown)
}

/// MC-3.
pub async fn a_killed_worker_leaves_no_confined_server<H: Harness>(harness: H) -> Outcome {
    let stage = stage(harness, "stays").await?;
    let worker = stage.harness.another_process();
    let mut worker = stage.hire(worker)?;
    let answered = Seen::Called("echo".to_owned());
    stage.until(&answered, 1).await?;
    worker.kill()?;
    stage
        .until_gone("killed a worker whose server runs inside a sandbox and ignores its end")
        .await
}
