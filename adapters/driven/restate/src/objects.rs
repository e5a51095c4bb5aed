//! The virtual objects: they read their state, let it change, and send what that asks for.
//!
//! Time is read once in each handler and journaled, so that a handler that is run again sees the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use restate_sdk::context::RequestTarget;
use restate_sdk::prelude::*;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{RunId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::CORRUPT;
use crate::line::{Answer, Line, Queued};
use crate::run::{Effects, Run, Waiting, forgotten};
use crate::wire::{
    After, BELL, Check, Described, DueRun, Grant, LINE, Letter, Limits, Payload, RUN, Renew,
    Report, SendSignal, Sent, SetLimit, SettleTurn, StartTurn, Started, SubmitRun, THE_LINE, Take,
    Wait, Withdraw,
};

/// The state of an object is under this key.
const STATE: &str = "state";
const LIMITS: &str = "limits";
/// How long a granted run waits for its worker to begin. It is alive and waits, or it is gone: nobody needs longer.
const TO_BEGIN: Duration = Duration::from_secs(5);
/// How long a bell is listened to at most.
const LISTENING: Duration = Duration::from_secs(90);
/// How many bytes of payloads one answer holds, give or take the last.
const ANSWER: usize = 4 * 1024 * 1024;

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

async fn now<'a>(ctx: &'a ObjectContext<'a>, clock: &Arc<dyn Clock>) -> HandlerResult<Timestamp> {
    let clock = Arc::clone(clock);
    let millis = ctx
        .run(move || async move { Ok(clock.now().as_millis()) })
        .await?;
    Ok(Timestamp::from_millis(millis))
}

fn run_id(key: &str) -> HandlerResult<RunId> {
    RunId::new(key).map_err(|_error| TerminalError::new_with_code(400, "no id of a run").into())
}

fn signal_key(id: &seaworthy_ports::SignalId) -> String {
    format!("signal.{id}")
}

fn page_key(page: u64) -> String {
    format!("due.{page}")
}

fn payload_key(position: u64) -> String {
    format!("payload.{position}")
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
            let line = RequestTarget::object(LINE, THE_LINE, "report");
            send(ctx, line, report, Duration::ZERO);
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
        if load::<Run>(&ctx, STATE).await?.is_some() {
            ctx.clear_all();
            let line = RequestTarget::object(LINE, THE_LINE, "report");
            send(
                &ctx,
                line,
                forgotten(&run_id(ctx.key())?, now),
                Duration::ZERO,
            );
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
            // It was forgotten; so was the grant.
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
        if let Some(mut run) = load::<Run>(&ctx, STATE).await? {
            let effects = run.check(check.into_inner(), &run_id(ctx.key())?, now);
            Self::perform_any(&ctx, &run, effects)?;
        }
        Ok(())
    }

    #[handler]
    async fn describe(
        &self,
        ctx: SharedObjectContext<'_>,
    ) -> HandlerResult<Json<Option<Described>>> {
        let run = look::<Run>(&ctx, STATE).await?;
        Ok(Json(run.map(|run| Described {
            signals: u32::try_from(run.waiting.len()).unwrap_or(u32::MAX),
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

/// Who waits for whom.
pub(crate) struct LineObject {
    pub(crate) clock: Arc<dyn Clock>,
}

impl LineObject {
    async fn limits<'a>(ctx: &'a ObjectContext<'a>) -> HandlerResult<Limits> {
        Ok(load(ctx, LIMITS).await?.unwrap_or_default())
    }

    async fn line<'a>(ctx: &'a ObjectContext<'a>) -> HandlerResult<Line> {
        Ok(load(ctx, STATE).await?.unwrap_or_default())
    }

    async fn page<'a>(ctx: &'a ObjectContext<'a>, page: u64) -> HandlerResult<Vec<Queued>> {
        let key = page_key(page);
        Ok(load(ctx, &key).await?.unwrap_or_default())
    }

    fn save_page(ctx: &ObjectContext<'_>, page: u64, runs: &[Queued]) -> HandlerResult<()> {
        let key = page_key(page);
        if runs.is_empty() {
            ctx.clear(&key);
            return Ok(());
        }
        ctx.set(&key, serde_json::to_vec(runs)?);
        Ok(())
    }

    /// Puts a run in its place.
    async fn queue<'a>(
        ctx: &'a ObjectContext<'a>,
        line: &mut Line,
        run: DueRun,
    ) -> HandlerResult<()> {
        let page = match line.page_for(run.due) {
            Some(page) => Some((page, Self::page(ctx, page).await?)),
            None => None,
        };
        for (page, runs) in line.queue(run, page) {
            Self::save_page(ctx, page, &runs)?;
        }
        Ok(())
    }

    /// Takes a forgotten run off its page.
    async fn forget<'a>(
        ctx: &'a ObjectContext<'a>,
        line: &mut Line,
        run: &RunId,
    ) -> HandlerResult<()> {
        line.forgotten(run);
        for page in line.pages() {
            let mut runs = Self::page(ctx, page).await?;
            let before = runs.len();
            runs.retain(|queued| !queued.is_of(run));
            if runs.len() < before {
                line.keep(page, &runs);
                Self::save_page(ctx, page, &runs)?;
            }
        }
        Ok(())
    }

    /// Gives what is due to those who wait, tells them, and keeps the line.
    async fn give<'a>(
        ctx: &'a ObjectContext<'a>,
        mut line: Line,
        mut answers: Vec<Answer>,
    ) -> HandlerResult<()> {
        let mut giving = line.give();
        let pages = line.pages();
        if !pages.is_empty() && line.wants_more(&giving) {
            let limits = Self::limits(ctx).await?;
            for page in pages {
                if !line.wants_more(&giving) {
                    break;
                }
                let mut runs = Self::page(ctx, page).await?;
                if line.give_from(&mut runs, &limits, &mut giving) {
                    line.keep(page, &runs);
                    Self::save_page(ctx, page, &runs)?;
                }
            }
        }
        answers.extend(line.given(giving));
        save(ctx, STATE, &line)?;
        for Answer { awakeable, grants } in answers {
            for grant in &grants {
                let check = Check {
                    fence: grant.fence,
                    epoch: grant.epoch,
                };
                let run = RequestTarget::object(RUN, grant.run.as_str(), "check");
                send(ctx, run, check, TO_BEGIN);
            }
            ctx.resolve_awakeable(&awakeable, Json(grants));
        }
        Ok(())
    }
}

#[restate_sdk::object(name = "SeaworthyLine")]
impl LineObject {
    /// Waits until there is a run to begin, or nothing more to wait for.
    #[handler]
    async fn take(
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
        let mut line = Self::line(&ctx).await?;
        let answers = line.wait(wait.into_inner());
        Self::give(&ctx, line, answers).await
    }

    #[handler]
    async fn report(&self, ctx: ObjectContext<'_>, report: Json<Report>) -> HandlerResult<()> {
        let Report {
            at,
            ended,
            due,
            forgotten,
        } = report.into_inner();
        let mut line = Self::line(&ctx).await?;
        if let Some(fence) = ended {
            line.ended(fence);
        }
        if let Some(run) = forgotten {
            Self::forget(&ctx, &mut line, &run).await?;
        }
        if let Some(run) = due {
            Self::queue(&ctx, &mut line, run).await?;
        }
        let stale = line.stale(at);
        Self::give(&ctx, line, stale).await
    }

    #[handler]
    async fn withdraw(
        &self,
        ctx: ObjectContext<'_>,
        withdraw: Json<Withdraw>,
    ) -> HandlerResult<()> {
        let Withdraw { worker, leaves } = withdraw.into_inner();
        let mut line = Self::line(&ctx).await?;
        let (answers, granted) = line.withdraw(&worker);
        Self::give(&ctx, line, answers).await?;
        if leaves {
            for (run, check) in granted {
                let run = RequestTarget::object(RUN, run.as_str(), "check");
                send(&ctx, run, check, Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Says whether there was room for one more limit.
    #[handler]
    async fn limit(
        &self,
        ctx: ObjectContext<'_>,
        set: Json<SetLimit>,
    ) -> HandlerResult<Json<bool>> {
        let SetLimit { queue, limit } = set.into_inner();
        let mut limits = Self::limits(&ctx).await?;
        match limit {
            Some(limit) => {
                let most = seaworthy_ports::durable_runtime::MAX_QUEUE_LIMITS;
                if !limits.contains_key(&queue) && limits.len() >= most {
                    return Ok(Json(false));
                }
                limits.insert(queue, limit);
            }
            None => {
                limits.remove(&queue);
            }
        }
        save(&ctx, LIMITS, &limits)?;
        // There may be room now.
        let line = Self::line(&ctx).await?;
        if line.has_both() {
            Self::give(&ctx, line, Vec::new()).await?;
        }
        Ok(Json(true))
    }

    #[handler]
    async fn limits_in_force(&self, ctx: SharedObjectContext<'_>) -> HandlerResult<Json<Limits>> {
        Ok(Json(look(&ctx, LIMITS).await?.unwrap_or_default()))
    }
}

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
