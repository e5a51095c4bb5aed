//! The virtual objects: they read their state, let it change, and send what that asks for.
//!
//! Time is read once in each handler and journaled, so that a handler that is run again sees the same.

mod bell;
mod line;
mod run;

use std::sync::Arc;
use std::time::Duration;

use restate_sdk::context::RequestTarget;
use restate_sdk::prelude::*;
use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CORRUPT;
pub(crate) use bell::BellObject;
pub(crate) use line::LineObject;
pub(crate) use run::RunObject;

/// The state of an object is under this key.
const STATE: &str = "state";

/// Every handler but those that wait: they are called often, and end at once.
pub(crate) fn options() -> ServiceOptions {
    ServiceOptions::new()
        .journal_retention(Duration::ZERO)
        .idempotency_retention(Duration::ZERO)
        .retry_policy_initial_interval(Duration::from_millis(50))
        .retry_policy_exponentiation_factor(2.0)
        .retry_policy_max_interval(Duration::from_secs(2))
        // As good as for ever: an operator may stop it, giving up would strand a run.
        .retry_policy_max_attempts(u64::from(u32::MAX))
        .retry_policy_pause_on_max_attempts()
}

/// A handler that waits gives its place at the server to others soon; it is woken when it is answered.
pub(crate) fn waits() -> HandlerOptions {
    HandlerOptions::new().inactivity_timeout(Duration::from_secs(2))
}

/// A handler that reads single values of many.
pub(crate) fn looks_up() -> HandlerOptions {
    HandlerOptions::new().enable_lazy_state(true)
}

fn corrupt(what: &'static str) -> HandlerError {
    TerminalError::new_with_code(CORRUPT, format!("{what} cannot be read")).into()
}

fn decode<T: DeserializeOwned>(bytes: Option<Vec<u8>>) -> HandlerResult<Option<T>> {
    bytes
        .map(|bytes| serde_json::from_slice(&bytes).map_err(|_error| corrupt("an object's state")))
        .transpose()
}

async fn load<'a, T: DeserializeOwned>(
    ctx: &'a ObjectContext<'a>,
    key: &'a str,
) -> HandlerResult<Option<T>> {
    decode(ctx.get::<Vec<u8>>(key).await?)
}

async fn look<'a, T: DeserializeOwned>(
    ctx: &'a SharedObjectContext<'a>,
    key: &'a str,
) -> HandlerResult<Option<T>> {
    decode(ctx.get::<Vec<u8>>(key).await?)
}

fn save<T: Serialize>(ctx: &ObjectContext<'_>, key: &str, value: &T) -> HandlerResult<()> {
    ctx.set(key, serde_json::to_vec(value)?);
    Ok(())
}

fn send<T: Serialize + Send + 'static>(
    ctx: &ObjectContext<'_>,
    target: RequestTarget,
    message: T,
    after: Duration,
) where
    Json<T>: restate_sdk::serde::Serialize,
{
    let request = ctx.request::<Json<T>, ()>(target, Json(message));
    let _handle = if after.is_zero() {
        request.send()
    } else {
        request.send_after(after)
    };
}

/// Awaited at once, before any other call of the context: the SDK asks for that of what is run.
async fn now<'a>(ctx: &'a ObjectContext<'a>, clock: &Arc<dyn Clock>) -> HandlerResult<Timestamp> {
    let clock = Arc::clone(clock);
    let millis = ctx
        .run(move || async move { Ok(clock.now().as_millis()) })
        .await?;
    Ok(Timestamp::from_millis(millis))
}
