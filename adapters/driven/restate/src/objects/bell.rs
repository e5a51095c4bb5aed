//! The object of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use restate_sdk::context::RequestTarget;
use restate_sdk::prelude::*;
use seaworthy_ports::RunId;
use serde::{Deserialize, Serialize};

use super::{STATE, load, save};
use crate::wire::BELL;

/// How long a bell is listened to at most.
const LISTENING: Duration = Duration::from_secs(90);

/// Tells a worker which of its runs have new signals.
pub(crate) struct BellObject;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Bell {
    rung: BTreeSet<RunId>,
    listener: Option<String>,
}

impl BellObject {
    async fn bell<'a>(ctx: &'a ObjectContext<'a>) -> HandlerResult<Bell> {
        Ok(load(ctx, STATE).await?.unwrap_or_default())
    }

    /// Tells the listener, if there is one and something to tell.
    fn perform(ctx: &ObjectContext<'_>, mut bell: Bell) -> HandlerResult<()> {
        if !bell.rung.is_empty()
            && let Some(listener) = bell.listener.take()
        {
            ctx.resolve_awakeable(&listener, Json(std::mem::take(&mut bell.rung)));
        }
        if bell.rung.is_empty() && bell.listener.is_none() {
            ctx.clear(STATE);
            return Ok(());
        }
        save(ctx, STATE, &bell)
    }

    fn dismiss(ctx: &ObjectContext<'_>, listener: Option<String>) {
        if let Some(listener) = listener {
            ctx.resolve_awakeable(&listener, Json(BTreeSet::<RunId>::new()));
        }
    }
}

#[restate_sdk::object(name = "SeaworthyBell")]
impl BellObject {
    /// Waits until it rings, or nobody is to listen any more.
    #[handler]
    async fn listen(&self, ctx: SharedObjectContext<'_>) -> HandlerResult<Json<BTreeSet<RunId>>> {
        let (awakeable, rung) = ctx.awakeable::<Json<BTreeSet<RunId>>>();
        let wait = RequestTarget::object(BELL, ctx.key(), "wait");
        let request = ctx.request::<Json<String>, ()>(wait, Json(awakeable.clone()));
        let _sent = request.send();
        let hush = RequestTarget::object(BELL, ctx.key(), "hush");
        let request = ctx.request::<Json<Option<String>>, ()>(hush, Json(Some(awakeable)));
        let _sent = request.send_after(LISTENING);
        Ok(rung.await?)
    }

    #[handler]
    async fn wait(&self, ctx: ObjectContext<'_>, awakeable: Json<String>) -> HandlerResult<()> {
        let mut bell = Self::bell(&ctx).await?;
        Self::dismiss(&ctx, bell.listener.replace(awakeable.into_inner()));
        Self::perform(&ctx, bell)
    }

    #[handler]
    async fn ring(&self, ctx: ObjectContext<'_>, run: Json<RunId>) -> HandlerResult<()> {
        let mut bell = Self::bell(&ctx).await?;
        bell.rung.insert(run.into_inner());
        Self::perform(&ctx, bell)
    }

    /// Nobody is to listen any more: this listener, or whoever it is, and then what has rung is forgotten too.
    #[handler]
    async fn hush(
        &self,
        ctx: ObjectContext<'_>,
        listener: Json<Option<String>>,
    ) -> HandlerResult<()> {
        let mut bell = Self::bell(&ctx).await?;
        let listener = listener.into_inner();
        if listener.is_none() || bell.listener == listener {
            Self::dismiss(&ctx, bell.listener.take());
        }
        if listener.is_none() {
            bell.rung.clear();
        }
        Self::perform(&ctx, bell)
    }
}
