//! The object that gives due runs to workers.

use std::sync::Arc;

use restate_sdk::context::RequestTarget;
use restate_sdk::prelude::*;
use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;

use super::{corrupt, send};
use crate::line::{Answer, Changes, Shelf, Step, limits};
use crate::wire::{
    Check, Grant, LINE, Limits, RUN, Report, SetLimit, TO_BEGIN, Take, Wait, Withdraw,
};

/// The state of the line.
struct Kept<'a>(&'a ObjectContext<'a>);

impl Shelf for Kept<'_> {
    type Error = HandlerError;

    async fn read(&self, key: String) -> HandlerResult<Option<Vec<u8>>> {
        read(self.0, &key).await
    }

    fn unreadable() -> HandlerError {
        corrupt("the state of the line")
    }
}

async fn read<'a>(ctx: &'a ObjectContext<'a>, key: &'a str) -> HandlerResult<Option<Vec<u8>>> {
    Ok(ctx.get::<Vec<u8>>(key).await?)
}

async fn see<'a>(ctx: &'a SharedObjectContext<'a>, key: &'a str) -> HandlerResult<Option<Vec<u8>>> {
    Ok(ctx.get::<Vec<u8>>(key).await?)
}

/// The same, for whoever only looks.
struct Seen<'a>(&'a SharedObjectContext<'a>);

impl Shelf for Seen<'_> {
    type Error = HandlerError;

    async fn read(&self, key: String) -> HandlerResult<Option<Vec<u8>>> {
        see(self.0, &key).await
    }

    fn unreadable() -> HandlerError {
        corrupt("the state of the line")
    }
}

/// Who waits for whom.
pub(crate) struct LineObject {
    pub(crate) clock: Arc<dyn Clock>,
}

impl LineObject {
    /// Writes what has changed, and tells those who got something, or who wait no more.
    fn perform(ctx: &ObjectContext<'_>, changes: Changes) {
        for (key, value) in changes.writes {
            match value {
                Some(value) => ctx.set(&key, value),
                None => ctx.clear(&key),
            }
        }
        for Answer { awakeable, grants } in changes.answers {
            Self::watch(ctx, &grants);
            ctx.resolve_awakeable(&awakeable, Json(grants));
        }
    }

    /// What nobody begins is offered again.
    fn watch(ctx: &ObjectContext<'_>, grants: &[Grant]) {
        for grant in grants {
            let check = Check {
                fence: grant.fence,
                epoch: grant.epoch,
            };
            let run = RequestTarget::object(RUN, grant.run.as_str(), "check");
            send(ctx, run, check, TO_BEGIN);
        }
    }
}

#[restate_sdk::object(name = "SeaworthyLine")]
impl LineObject {
    /// Gives what there is to begin now.
    #[handler]
    async fn take(
        &self,
        ctx: ObjectContext<'_>,
        take: Json<Take>,
    ) -> HandlerResult<Json<Vec<Grant>>> {
        let kept = Kept(&ctx);
        let mut step = Step::begin(&kept).await?;
        let grants = step.take(take.into_inner()).await?;
        Self::perform(&ctx, step.end()?);
        Self::watch(&ctx, &grants);
        Ok(Json(grants))
    }

    /// Waits until there is a run to begin, or nothing more to wait for.
    #[handler]
    async fn take_later(
        &self,
        ctx: SharedObjectContext<'_>,
        take: Json<Take>,
    ) -> HandlerResult<Json<Vec<Grant>>> {
        let clock = Arc::clone(&self.clock);
        let at = ctx
            .run(move || async move { Ok(clock.now().as_millis()) })
            .await?;
        let (awakeable, granted) = ctx.awakeable::<Json<Vec<Grant>>>();
        let wait = Wait {
            at: Timestamp::from_millis(at),
            take: take.into_inner(),
            awakeable,
        };
        let line = RequestTarget::object(LINE, ctx.key(), "wait");
        let _sent = ctx.request::<Json<Wait>, ()>(line, Json(wait)).send();
        Ok(granted.await?)
    }

    #[handler]
    async fn wait(&self, ctx: ObjectContext<'_>, wait: Json<Wait>) -> HandlerResult<()> {
        let kept = Kept(&ctx);
        let mut step = Step::begin(&kept).await?;
        step.wait(wait.into_inner()).await?;
        Self::perform(&ctx, step.end()?);
        Ok(())
    }

    #[handler]
    async fn report(&self, ctx: ObjectContext<'_>, report: Json<Report>) -> HandlerResult<()> {
        let kept = Kept(&ctx);
        let mut step = Step::begin(&kept).await?;
        step.report(report.into_inner()).await?;
        Self::perform(&ctx, step.end()?);
        Ok(())
    }

    #[handler]
    async fn withdraw(
        &self,
        ctx: ObjectContext<'_>,
        withdraw: Json<Withdraw>,
    ) -> HandlerResult<()> {
        let kept = Kept(&ctx);
        let mut step = Step::begin(&kept).await?;
        step.withdraw(&withdraw.into_inner().worker);
        Self::perform(&ctx, step.end()?);
        Ok(())
    }

    /// Says of each limit whether there was room for it.
    #[handler]
    async fn limit(
        &self,
        ctx: ObjectContext<'_>,
        changes: Json<Vec<SetLimit>>,
    ) -> HandlerResult<Json<Vec<bool>>> {
        let kept = Kept(&ctx);
        let mut step = Step::begin(&kept).await?;
        let had_room = step.limit(changes.into_inner()).await?;
        Self::perform(&ctx, step.end()?);
        Ok(Json(had_room))
    }

    #[handler]
    async fn limits_in_force(&self, ctx: SharedObjectContext<'_>) -> HandlerResult<Json<Limits>> {
        Ok(Json(limits(&Seen(&ctx)).await?))
    }
}
