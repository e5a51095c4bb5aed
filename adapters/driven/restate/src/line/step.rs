//! One step of the line: what it reads, decides, and leaves to be written and answered.

use std::time::Duration;

use seaworthy_ports::durable_runtime::MAX_QUEUE_LIMITS;
use seaworthy_ports::{QueueName, SessionId, Timestamp, WorkerId};
use serde::de::DeserializeOwned;

use super::list::{Garbled, Lists, Shelf};
use super::{Answer, Line, PageOf, Queued, Waiter};
use crate::wire::{DueRun, Grant, Limits, Near, Report, SetLimit, Take, Takes, Wait};

/// How long a take that nobody renewed is believed.
pub(super) const STALE: Duration = Duration::from_secs(90);
/// How many runs one page holds. A page is read and written as a whole.
pub(super) const PAGE: usize = 64;

const LINE: &str = "state";
const LIMITS: &str = "limits";

fn page_key(page: u64) -> String {
    format!("due.{page}")
}

fn session_key(session: &SessionId) -> String {
    format!("session.{session}")
}

/// What a step leaves to do.
#[derive(Debug)]
pub(crate) struct Changes {
    /// By key; `None`: it has to go.
    pub(crate) writes: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) answers: Vec<Answer>,
}

/// The line while it is changed.
pub(crate) struct Step<'s, S> {
    pub(super) line: Line,
    before: Line,
    lists: Lists<'s, S>,
    limits: Option<Limits>,
    changed_limits: bool,
    answers: Vec<Answer>,
}

/// How many runs a waiter was given in this step.
type Given = Vec<Vec<Grant>>;

impl<'s, S: Shelf> Step<'s, S> {
    pub(crate) async fn begin(shelf: &'s S) -> Result<Self, S::Error> {
        let line: Line = read(shelf, LINE).await?;
        Ok(Self {
            before: line.clone(),
            line,
            lists: Lists::on(shelf),
            limits: None,
            changed_limits: false,
            answers: Vec::new(),
        })
    }

    /// What a run has to say.
    pub(crate) async fn report(&mut self, report: Report) -> Result<(), S::Error> {
        if let Some(session) = report.ended.and_then(|fence| self.line.ended(fence)) {
            self.free(&session).await?;
        }
        if let Some(run) = report.forgotten {
            self.forget(&run).await?;
        }
        if let Some(run) = report.due {
            self.queue(run).await?;
        }
        let stale = |waiter: &Waiter| waiter.at.plus(STALE) < report.at;
        self.answers.extend(self.line.dismiss(stale));
        self.give().await
    }

    /// A worker waits. It waits once: what it waited for before, it no longer listens to.
    pub(crate) async fn wait(&mut self, wait: Wait) -> Result<(), S::Error> {
        self.withdraw(&wait.take.worker);
        self.line.takes.push(Waiter {
            at: wait.at,
            take: wait.take,
            awakeable: Some(wait.awakeable),
        });
        self.give().await
    }

    /// What there is for a worker now.
    pub(crate) async fn take(&mut self, take: Take) -> Result<Vec<Grant>, S::Error> {
        self.withdraw(&take.worker);
        self.line.takes.push(Waiter {
            at: Timestamp::default(),
            take,
            awakeable: None,
        });
        let grants = self.give_now().await?;
        self.line.takes.retain(|waiter| waiter.awakeable.is_some());
        Ok(grants)
    }

    /// A worker waits no more.
    pub(crate) fn withdraw(&mut self, worker: &WorkerId) {
        self.answers.extend(self.line.dismiss_worker(worker));
    }

    /// Sets limits, and says of each whether there was room for it.
    pub(crate) async fn limit(&mut self, changes: Vec<SetLimit>) -> Result<Vec<bool>, S::Error> {
        let limits = self.limits().await?;
        let mut had_room = Vec::with_capacity(changes.len());
        for SetLimit { queue, limit } in changes {
            let is_room = match limit {
                Some(_) if !limits.contains_key(&queue) && limits.len() >= MAX_QUEUE_LIMITS => {
                    false
                }
                Some(limit) => {
                    limits.insert(queue, limit);
                    true
                }
                None => {
                    limits.remove(&queue);
                    true
                }
            };
            had_room.push(is_room);
        }
        let is_limited = !limits.is_empty();
        self.changed_limits = true;
        self.line.is_limited = is_limited;
        // There may be room now.
        self.give().await?;
        Ok(had_room)
    }

    /// What is left to do.
    pub(crate) fn end(self) -> Result<Changes, S::Error> {
        let mut writes: Vec<_> = self.lists.changes().collect();
        if let Some(limits) = self.limits.filter(|_| self.changed_limits) {
            let text = match limits.is_empty() {
                true => None,
                false => Some(written::<S>(&limits)?),
            };
            writes.push((LIMITS.to_owned(), text));
        }
        if self.line != self.before {
            writes.push((LINE.to_owned(), Some(written::<S>(&self.line)?)));
        }
        Ok(Changes {
            writes,
            answers: self.answers,
        })
    }

    async fn limits(&mut self) -> Result<&mut Limits, S::Error> {
        if self.limits.is_none() {
            let limits = if self.line.is_limited {
                read(self.lists.shelf(), LIMITS).await?
            } else {
                Limits::new()
            };
            self.limits = Some(limits);
        }
        Ok(self.limits.get_or_insert_default())
    }

    /// Puts a due run in its place.
    async fn queue(&mut self, run: DueRun) -> Result<(), S::Error> {
        self.line.last_number += 1;
        let queued = Queued {
            number: self.line.last_number,
            run,
        };
        for waiter in &mut self.line.takes {
            if let Takes::Run { run, near } = &mut waiter.take.scope
                && *run == queued.run.run
            {
                *near = Some(Near {
                    queue: queued.run.queue.clone(),
                    due: queued.run.due,
                });
            }
        }
        self.place(queued).await
    }

    async fn place(&mut self, queued: Queued) -> Result<(), S::Error> {
        if self.line.is_busy(queued.run.session.as_ref()) {
            return self.put_aside(&queued).await;
        }
        let place = queued.place();
        let pages = self.line.queues.entry(queued.run.queue.clone());
        let pages = pages.or_default();
        let after = pages.partition_point(|page| page.first <= place);
        let at = after.saturating_sub(1);
        let new = self.line.last_page + 1;
        let alone = PageOf {
            page: new,
            first: place,
            last: place,
            runs: 1,
        };
        let only = match pages.get_mut(at) {
            // Runs are mostly added at the end: full pages stay full.
            Some(page) if place > page.last && page.runs >= PAGE => {
                pages.insert(at + 1, alone);
                true
            }
            None => {
                pages.push(alone);
                true
            }
            Some(_) => false,
        };
        if only {
            self.line.last_page = new;
            let list = self.lists.new_list(page_key(new));
            return list.push(&queued).map_err(garbled::<S>);
        }
        let Some(page) = pages.get_mut(at) else {
            return Ok(());
        };
        let list = self.lists.list(page_key(page.page)).await?;
        if place > page.last {
            page.last = place;
            page.runs += 1;
            return list.push(&queued).map_err(garbled::<S>);
        }
        let mut runs = list.all().map_err(garbled::<S>)?;
        let index = runs.partition_point(|other| other.place() < place);
        runs.insert(index, queued);
        let rest = (runs.len() > PAGE).then(|| runs.split_off(runs.len() / 2));
        list.replace(&runs).map_err(garbled::<S>)?;
        page.describe(&runs);
        if let Some(rest) = rest {
            let mut other = PageOf {
                page: new,
                ..page.clone()
            };
            other.describe(&rest);
            pages.insert(at + 1, other);
            self.line.last_page = new;
            let list = self.lists.new_list(page_key(new));
            list.replace(&rest).map_err(garbled::<S>)?;
        }
        Ok(())
    }

    /// Keeps a run until its session is free.
    async fn put_aside(&mut self, queued: &Queued) -> Result<(), S::Error> {
        let Some(session) = &queued.run.session else {
            return Ok(());
        };
        let aside = self.lists.list(session_key(session)).await?;
        aside.push(queued).map_err(garbled::<S>)
    }

    /// Puts the runs of a session that is free back in their places.
    async fn free(&mut self, session: &SessionId) -> Result<(), S::Error> {
        let aside = self.lists.list(session_key(session)).await?;
        let runs = aside.all().map_err(garbled::<S>)?;
        if runs.is_empty() {
            return Ok(());
        }
        aside.replace(&[]).map_err(garbled::<S>)?;
        for queued in runs {
            self.place(queued).await?;
        }
        Ok(())
    }

    /// Takes a forgotten run from wherever it is.
    async fn forget(&mut self, run: &DueRun) -> Result<(), S::Error> {
        let near = Near {
            queue: run.queue.clone(),
            due: run.due,
        };
        if self
            .take_out(&near, |queued| queued.run.run == run.run)
            .await?
            .is_none()
            && let Some(session) = &run.session
        {
            let aside = self.lists.list(session_key(session)).await?;
            let mut runs = aside.all().map_err(garbled::<S>)?;
            let before = runs.len();
            runs.retain(|queued| queued.run.run != run.run);
            if runs.len() < before {
                aside.replace(&runs).map_err(garbled::<S>)?;
            }
        }
        Ok(())
    }

    /// Takes a run off the page where it should be.
    async fn take_out(
        &mut self,
        near: &Near,
        which: impl Fn(&Queued) -> bool,
    ) -> Result<Option<Queued>, S::Error> {
        let Some(pages) = self.line.queues.get_mut(&near.queue) else {
            return Ok(None);
        };
        for at in 0..pages.len() {
            let Some(page) = pages.get_mut(at) else {
                break;
            };
            if near.due < page.first.due || page.last.due < near.due {
                continue;
            }
            let list = self.lists.list(page_key(page.page)).await?;
            let mut runs = list.all().map_err(garbled::<S>)?;
            let Some(index) = runs.iter().position(&which) else {
                continue;
            };
            let found = runs.remove(index);
            list.replace(&runs).map_err(garbled::<S>)?;
            page.describe(&runs);
            if runs.is_empty() {
                pages.remove(at);
            }
            if pages.is_empty() {
                self.line.queues.remove(&near.queue);
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// Gives due runs to those who wait.
    async fn give(&mut self) -> Result<(), S::Error> {
        // All of them have an awakeable here.
        self.give_now().await.map(drop)
    }

    /// The same, and returns what goes to the one without an awakeable.
    async fn give_now(&mut self) -> Result<Vec<Grant>, S::Error> {
        if self.line.takes.is_empty() || self.line.queues.is_empty() {
            return Ok(Vec::new());
        }
        self.limits().await?;
        let mut given: Given = vec![Vec::new(); self.line.takes.len()];
        self.give_wanted(&mut given).await?;
        while let Some((waiter, queue)) = self.oldest(&given) {
            let Some(queued) = self.first_of(&queue).await? else {
                continue;
            };
            if self.line.is_busy(queued.run.session.as_ref()) {
                self.put_aside(&queued).await?;
            } else if let Some(grants) = given.get_mut(waiter) {
                grants.push(self.line.grant(queued.run));
            }
        }
        let mut now = Vec::new();
        let waiters = std::mem::take(&mut self.line.takes);
        for (waiter, grants) in waiters.into_iter().zip(given) {
            match waiter.awakeable {
                _ if grants.is_empty() => self.line.takes.push(waiter),
                Some(awakeable) => self.answers.push(Answer { awakeable, grants }),
                None => now = grants,
            }
        }
        Ok(now)
    }

    /// Gives those who want one run that run.
    async fn give_wanted(&mut self, given: &mut Given) -> Result<(), S::Error> {
        for at in 0..self.line.takes.len() {
            let scope = self.line.takes.get(at).map(|waiter| &waiter.take.scope);
            let Some(Takes::Run {
                run,
                near: Some(near),
            }) = scope.cloned()
            else {
                continue;
            };
            if !self.has_room(&near.queue) {
                continue;
            }
            let sessions = self.line.sessions.clone();
            let is_it = |queued: &Queued| {
                let session = queued.run.session.as_ref();
                let is_free = session.is_none_or(|session| !sessions.contains_key(session));
                queued.run.run == run && is_free
            };
            let found = self.take_out(&near, is_it).await?;
            if let (Some(queued), Some(grants)) = (found, given.get_mut(at)) {
                grants.push(self.line.grant(queued.run));
            }
        }
        Ok(())
    }

    fn has_room(&self, queue: &QueueName) -> bool {
        let limit = self.limits.as_ref().and_then(|limits| limits.get(queue));
        limit.is_none_or(|limit| {
            let most = usize::try_from(limit.get()).unwrap_or(usize::MAX);
            self.line.live_in(queue) < most
        })
    }

    /// Whose turn it is: the queue with the run that is due longest, and who gets it.
    fn oldest(&self, given: &Given) -> Option<(usize, QueueName)> {
        let has_room = |at: &usize, waiter: &Waiter| {
            given
                .get(*at)
                .is_some_and(|grants| grants.len() < waiter.take.room)
        };
        let queues = self.line.queues.iter();
        let queues = queues.filter_map(|(queue, pages)| {
            let first = pages.first()?.first;
            let mut takes = self.line.takes.iter().enumerate();
            let (at, _waiter) = takes.find(|(at, waiter)| {
                has_room(at, waiter)
                    && match &waiter.take.scope {
                        Takes::All => true,
                        Takes::Queues(queues) => queues.contains(queue),
                        Takes::Run { .. } => false,
                    }
            })?;
            self.has_room(queue).then_some((first, at, queue))
        });
        let (_first, at, queue) = queues.min_by_key(|(first, _at, _queue)| *first)?;
        Some((at, queue.clone()))
    }

    /// Takes the first run off the first page of a queue.
    async fn first_of(&mut self, queue: &QueueName) -> Result<Option<Queued>, S::Error> {
        let Some(pages) = self.line.queues.get_mut(queue) else {
            return Ok(None);
        };
        let mut found = None;
        if let Some(page) = pages.first_mut() {
            let list = self.lists.list(page_key(page.page)).await?;
            found = list.front().map_err(garbled::<S>)?;
            list.pop();
            match list.front().map_err(garbled::<S>)? {
                Some(next) => {
                    page.first = next.place();
                    page.runs = page.runs.saturating_sub(1);
                }
                None => {
                    pages.remove(0);
                }
            }
        }
        if pages.is_empty() {
            self.line.queues.remove(queue);
        }
        Ok(found)
    }
}

impl PageOf {
    /// Notes what is on it. An empty one is about to go.
    fn describe(&mut self, runs: &[Queued]) {
        self.runs = runs.len();
        if let (Some(first), Some(last)) = (runs.first(), runs.last()) {
            self.first = first.place();
            self.last = last.place();
        }
    }
}

fn garbled<S: Shelf>(_garbled: Garbled) -> S::Error {
    S::unreadable()
}

fn written<S: Shelf>(value: &impl serde::Serialize) -> Result<Vec<u8>, S::Error> {
    serde_json::to_vec(value).map_err(|_error| S::unreadable())
}

async fn read<S: Shelf, T: DeserializeOwned + Default>(
    shelf: &S,
    key: &str,
) -> Result<T, S::Error> {
    match shelf.read(key.to_owned()).await? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|_error| S::unreadable()),
        None => Ok(T::default()),
    }
}

/// The limits in force, for whoever only looks.
pub(crate) async fn limits<S: Shelf>(shelf: &S) -> Result<Limits, S::Error> {
    read(shelf, LIMITS).await
}
