//! `handlers`: what a Restate server calls to keep runs moving.

use std::sync::Arc;

use seaworthy::ports::Latch;
use seaworthy::restate::{Handlers, register};
use seaworthy::system::SystemClock;
use serde_json::json;

use super::Context;
use crate::args::HandlersArgs;
use crate::error::{CliError, Exit};
use crate::stop::Stop;

pub(super) async fn handlers(context: &Context, args: HandlersArgs) -> Result<Exit, CliError> {
    let stop = Stop::listen()?;
    let cannot = |error: seaworthy::ports::durable_runtime::RuntimeError| CliError::Stack {
        part: "the handlers for Restate",
        why: error.to_string(),
    };
    let handlers = Handlers::bind(args.listen).await.map_err(cannot)?;
    let address = args
        .address
        .unwrap_or_else(|| format!("http://{}", handlers.address()));
    let (end, ends) = Latch::new();
    let clock = Arc::new(SystemClock::new());
    let identity = args.identity;
    let mut serving =
        tokio::spawn(async move { handlers.serve(clock, identity.as_deref(), ends).await });
    let token = context.environment.restate_token.as_ref();
    let registered = register(&args.admin, token, &address).await;
    if registered.is_ok() {
        context.output.note(&format!(
            "serving the handlers at {address}; Ctrl-C or SIGTERM stops"
        ));
        if context.output.json {
            context
                .output
                .json(&json!({ "type": "handlers", "address": address }))?;
        }
        tokio::select! {
            () = stop.latch.wait() => {}
            // It ends by itself only if it cannot go on.
            _ended = &mut serving => {}
        }
    }
    end.set();
    if !serving.is_finished() {
        // A broken task leaves nothing to stop.
        let _ended = (&mut serving).await;
    }
    registered.map_err(cannot)?;
    Ok(Exit::Succeeded)
}
