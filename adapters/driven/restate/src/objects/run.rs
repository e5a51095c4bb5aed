//! The object of a run.

use std::sync::Arc;
use std::time::Duration;

use restate_sdk::context::RequestTarget;
use restate_sdk::prelude::*;
use seaworthy_ports::RunId;
use seaworthy_ports::clock::Clock;

use super::{STATE, load, look, now, save, send};
use crate::run::{Effects, Run, Waiting, ended};
use crate::wire::{
    After, BELL, Check, Described, LINE, Letter, Payload, RUN, Renew, Report, SendSignal, Sent,
    SettleTurn, StartTurn, Started, SubmitRun, THE_LINE,
};

/// How many bytes of payloads one answer holds, give or take the last.
const ANSWER: usize = 4 * 1024 * 1024;

fn run_id(key: &str) -> HandlerResult<RunId> {
    RunId::new(key).map_err(|_error| TerminalError::new_with_code(400, "no id of a run").into())
}

fn signal_key(id: &seaworthy_ports::SignalId) -> String {
    format!("signal.{id}")
}

fn payload_key(position: u64) -> String {
    format!("payload.{position}")
}

fn tell_line(ctx: &ObjectContext<'_>, report: Report) {
    let line = RequestTarget::object(LINE, THE_LINE, "report");
    send(ctx, line, report, Duration::ZERO);
}

/// One run: its schedule, its mailbox, and the ids of all signals it ever took.
pub(crate) struct RunObject {
    pub(crate) clock: Arc<dyn Clock>,
}

impl RunObject {
    fn perform(ctx: &ObjectContext<'_>, run: &Run, effects: Effects) -> HandlerResult<()> {
        save(ctx, STATE, run)?;
        let itself = |handler: &str| RequestTarget::object(RUN, ctx.key(), handler);
        if let Some((position, Payload(payload))) = effects.store {
            ctx.set(&payload_key(position), payload.to_vec());
        }
        for position in effects.clear {
            ctx.clear(&payload_key(position));
        }
        if let Some(report) = effects.report {
            tell_line(ctx, report);
        }
        if let Some((epoch, after)) = effects.wake {
            send(ctx, itself("wake"), epoch, after);
        }
        if let Some((check, after)) = effects.check {
            send(ctx, itself("check"), check, after);
        }
        if let Some(worker) = effects.ring {
            let bell = RequestTarget::object(BELL, worker.as_str(), "ring");
            send(ctx, bell, run_id(ctx.key())?, Duration::ZERO);
        }
        Ok(())
    }
}

// Where a step has no effect, nothing has changed.
impl RunObject {
    fn perform_any(ctx: &ObjectContext<'_>, run: &Run, effects: Effects) -> HandlerResult<()> {
        if effects == Effects::default() {
            return Ok(());
        }
        Self::perform(ctx, run, effects)
    }
}

#[restate_sdk::object(name = "SeaworthyRun")]
impl RunObject {
    #[handler]
    async fn submit(
        &self,
        ctx: ObjectContext<'_>,
        submit: Json<SubmitRun>,
    ) -> HandlerResult<Json<bool>> {
        let now = now(&ctx, &self.clock).await?;
        if load::<Run>(&ctx, STATE).await?.is_some() {
            return Ok(Json(false));
        }
        let (run, effects) = Run::new(submit.into_inner(), &run_id(ctx.key())?, now);
        Self::perform(&ctx, &run, effects)?;
        Ok(Json(true))
    }

    #[handler]
    async fn signal(
        &self,
        ctx: ObjectContext<'_>,
        signal: Json<SendSignal>,
    ) -> HandlerResult<Json<Sent>> {
        let now = now(&ctx, &self.clock).await?;
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            return Ok(Json(Sent::Unknown));
        };
        if run.is_finished() {
            return Ok(Json(Sent::Finished));
        }
        let signal = signal.into_inner();
        let key = signal_key(&signal.id);
        if load::<bool>(&ctx, &key).await?.is_some() {
            return Ok(Json(Sent::Duplicate));
        }
        let (sent, effects) = run.signal(signal, &run_id(ctx.key())?, now);
        if sent == Sent::Accepted {
            save(&ctx, &key, &true)?;
            Self::perform(&ctx, &run, effects)?;
        }
        Ok(Json(sent))
    }

    #[handler]
    async fn resubmit(&self, ctx: ObjectContext<'_>) -> HandlerResult<Json<bool>> {
        let now = now(&ctx, &self.clock).await?;
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            return Ok(Json(false));
        };
        let effects = run.resubmit(&run_id(ctx.key())?, now);
        Self::perform(&ctx, &run, effects)?;
        Ok(Json(true))
    }

    #[handler]
    async fn forget(&self, ctx: ObjectContext<'_>) -> HandlerResult<()> {
        let now = now(&ctx, &self.clock).await?;
        if let Some(run) = load::<Run>(&ctx, STATE).await? {
            ctx.clear_all();
            if let Some(report) = run.forgotten(&run_id(ctx.key())?, now) {
                tell_line(&ctx, report);
            }
        }
        Ok(())
    }

    #[handler]
    async fn start(
        &self,
        ctx: ObjectContext<'_>,
        start: Json<StartTurn>,
    ) -> HandlerResult<Json<Option<Started>>> {
        let now = now(&ctx, &self.clock).await?;
        let start = start.into_inner();
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            // It was forgotten after it had been granted.
            tell_line(&ctx, ended(start.fence, now));
            return Ok(Json(None));
        };
        let (may_begin, effects) = run.start(start, now);
        Self::perform(&ctx, &run, effects)?;
        Ok(Json(may_begin.then(|| Started {
            delivery: run.deliveries,
            signals: run.letters(),
        })))
    }

    #[handler]
    async fn renew(&self, ctx: ObjectContext<'_>, renew: Json<Renew>) -> HandlerResult<Json<bool>> {
        let now = now(&ctx, &self.clock).await?;
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            return Ok(Json(false));
        };
        let is_renewed = run.renew(renew.into_inner(), now);
        if is_renewed {
            save(&ctx, STATE, &run)?;
        }
        Ok(Json(is_renewed))
    }

    #[handler]
    async fn settle(
        &self,
        ctx: ObjectContext<'_>,
        settle: Json<SettleTurn>,
    ) -> HandlerResult<Json<bool>> {
        let now = now(&ctx, &self.clock).await?;
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            return Ok(Json(false));
        };
        let (is_settled, effects) = run.settle(settle.into_inner(), &run_id(ctx.key())?, now);
        if is_settled {
            Self::perform(&ctx, &run, effects)?;
        }
        Ok(Json(is_settled))
    }

    // The time comes first in these too, though they seldom need it: see `now`.
    #[handler]
    async fn wake(&self, ctx: ObjectContext<'_>, epoch: Json<u64>) -> HandlerResult<()> {
        let now = now(&ctx, &self.clock).await?;
        if let Some(mut run) = load::<Run>(&ctx, STATE).await? {
            let effects = run.wake(epoch.into_inner(), &run_id(ctx.key())?, now);
            Self::perform_any(&ctx, &run, effects)?;
        }
        Ok(())
    }

    #[handler]
    async fn check(&self, ctx: ObjectContext<'_>, check: Json<Check>) -> HandlerResult<()> {
        let now = now(&ctx, &self.clock).await?;
        let check = check.into_inner();
        let Some(mut run) = load::<Run>(&ctx, STATE).await? else {
            tell_line(&ctx, ended(check.fence, now));
            return Ok(());
        };
        let effects = run.check(check, &run_id(ctx.key())?, now);
        Self::perform_any(&ctx, &run, effects)
    }

    #[handler]
    async fn describe(
        &self,
        ctx: SharedObjectContext<'_>,
    ) -> HandlerResult<Json<Option<Described>>> {
        let run = look::<Run>(&ctx, STATE).await?;
        Ok(Json(run.map(|run| Described {
            signals: u32::try_from(run.waiting.len()).unwrap_or(u32::MAX),
            queue: run.queue,
            state: run.state,
            deliveries: run.deliveries,
        })))
    }

    #[handler]
    async fn letters(
        &self,
        ctx: SharedObjectContext<'_>,
        after: Json<After>,
    ) -> HandlerResult<Json<Vec<Letter>>> {
        let after = after.into_inner();
        let waiting = look::<Run>(&ctx, STATE)
            .await?
            .map_or_else(Vec::new, |run| run.waiting);
        let mut letters = Vec::new();
        let mut bytes = 0;
        let wanted = waiting
            .into_iter()
            .filter(|one| one.position > after.position)
            .take(after.limit);
        for Waiting {
            position,
            id,
            payload,
        } in wanted
        {
            if bytes > ANSWER {
                break;
            }
            let payload = match payload {
                Some(payload) => payload,
                None => {
                    let key = payload_key(position);
                    let Some(payload) = get_bytes(&ctx, &key).await? else {
                        // It was consumed a moment ago.
                        continue;
                    };
                    Payload(payload.into())
                }
            };
            bytes += payload.0.len();
            letters.push(Letter {
                position,
                id,
                payload,
            });
        }
        Ok(Json(letters))
    }
}

async fn get_bytes<'a>(
    ctx: &'a SharedObjectContext<'a>,
    key: &'a str,
) -> HandlerResult<Option<Vec<u8>>> {
    Ok(ctx.get::<Vec<u8>>(key).await?)
}
