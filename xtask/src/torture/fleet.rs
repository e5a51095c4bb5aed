//! A fleet: several workers on one database server, with everything that happens to fleets happening at once.
//!
//! Workers are killed, stopped past their leases and continued; their connections are cut and refused; the server ends as
//! in a crash and comes back; some clocks are an hour off. Then it is calm, and every run must end as if nothing had been.

mod aftermath;
mod storm;
mod worker;

use std::iter::repeat_n;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::agent::Bench;
use super::chance::Chance;
use super::checks::Totals;
use super::clocks::Clocks;
use super::engine::Engine;
use super::process::Subject;
use super::proxy::Proxy;
use crate::failure::Failure;
use crate::services::{Kind, Supervised};
use aftermath::{checked, ended, stored};
use storm::{Event, FIRST, Storm, any};
use worker::{Worker, last, one_of};

/// How much torture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) runs: u32,
    pub(super) workers: usize,
    pub(super) jobs: u32,
    pub(super) deadline: Instant,
    /// Whether a Restate server makes the runs advance.
    pub(super) on_restate: bool,
}

/// The share of the time, in percent, after which nothing happens any more.
const STORMY: u32 = 55;
/// Longer than a lease, which is 15 s.
const STOPPED: (u64, u64) = (16_000, 20_000);
/// How long connections are refused.
const REFUSED: (u64, u64) = (300, 2_000);
/// Between one thing that happens and the next.
const BETWEEN: (u64, u64) = (400, 1_800);
/// How long a worker may take to let live turns finish.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a command is repeated that finds no server.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(250);
/// The schema that the command line uses unless it is told otherwise.
const SCHEMA: &str = "seaworthy";

/// The server, what lies between it and the workers, and the workers.
struct Fleet<'a> {
    bench: &'a Bench,
    server: Supervised,
    engine: Option<Engine>,
    proxy: Proxy,
    workers: Vec<Worker>,
    refused_until: Option<Instant>,
    storm: Storm,
    faults: Vec<String>,
}

/// Puts a fleet through a storm and checks every run afterwards.
pub(super) fn torture(
    bench: &Bench,
    plan: &Plan,
    reference: &Value,
    chance: &mut Chance,
) -> Result<(Totals, Storm), Failure> {
    let started = Instant::now();
    let server = Kind::Postgres.of_its_own()?;
    let direct = server.url().to_owned();
    let (proxied, proxy) = behind_proxy(&direct)?;
    let engine = match plan.on_restate {
        true => Some(Engine::start(bench)?),
        false => None,
    };
    let runtime = engine.as_ref().map(Engine::runtime).transpose()?;
    let runtime = runtime.as_deref();
    let mut fleet = Fleet {
        bench,
        server,
        engine,
        proxy,
        workers: Vec::new(),
        refused_until: None,
        storm: Storm::default(),
        faults: Vec::new(),
    };
    let watcher = Subject::on_server(bench, "watcher".to_owned(), &direct)?;
    if watcher.ask_for(bench, &["migrate"])?.1 != Some(0) {
        return Err(Failure::new("the schema cannot be made"));
    }
    fleet.enlist(plan.workers, &proxied, runtime)?;
    let subjects = subjects(bench, plan.runs, &direct, runtime)?;
    let time = plan.deadline.saturating_duration_since(started);
    let calm = started + time * STORMY / 100;
    let queued = AtomicUsize::new(0);
    let not_queued = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| queue(bench, &subjects, &queued, &not_queued));
        }
        fleet.weather(&watcher, subjects.len(), calm, chance)
    })?;
    fleet.faults.extend(
        not_queued
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    );
    fleet.calm(&watcher, subjects.len(), plan.deadline)?;
    fleet.dismiss()?;
    let mut totals = checked(bench, plan.jobs, &subjects, reference)?;
    totals
        .faults
        .extend(stored(&direct, SCHEMA, subjects.len()));
    totals.faults.append(&mut fleet.faults);
    totals.faults.extend(fleet.storm.missing(plan.on_restate));
    totals.kills = fleet.storm.kills + fleet.storm.stops;
    fleet.server.stop();
    if let Some(engine) = fleet.engine {
        engine.stop();
    }
    Ok((totals, fleet.storm))
}

/// The same database through a proxy.
fn behind_proxy(url: &str) -> Result<(String, Proxy), Failure> {
    let odd = || Failure::new(format!("{url} names no port"));
    let (before, rest) = url.rsplit_once(':').ok_or_else(odd)?;
    let (port, database) = rest.split_once('/').ok_or_else(odd)?;
    let proxy = Proxy::start(port.parse().map_err(|_no_number| odd())?)?;
    Ok((format!("{before}:{}/{database}", proxy.port()), proxy))
}

fn subjects(
    bench: &Bench,
    runs: u32,
    store: &str,
    runtime: Option<&str>,
) -> Result<Vec<Subject>, Failure> {
    (0..runs)
        .map(|number| {
            let subject = Subject::on_server(bench, format!("fleet-{number}"), store)?;
            Ok(subject.with_runtime(runtime))
        })
        .collect()
}

/// Queues runs that nobody has queued yet, each as often as it needs: repeating it is harmless.
fn queue(bench: &Bench, subjects: &[Subject], next: &AtomicUsize, faults: &Mutex<Vec<String>>) {
    while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut tries = 0;
        let fault = loop {
            let ended = subject
                .start(bench, &["--detach"])
                .and_then(|mut queueing| queueing.wait(PATIENCE));
            match ended {
                Ok(Some(status)) if status.success() => break None,
                Ok(_) if tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE);
                }
                other => {
                    break Some(format!(
                        "{} cannot be queued: {other:?}: {}",
                        subject.run,
                        last(&subject.errors())
                    ));
                }
            }
        };
        if let Some(fault) = fault {
            faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(fault);
        }
    }
}

impl Fleet<'_> {
    fn enlist(
        &mut self,
        workers: usize,
        store: &str,
        runtime: Option<&str>,
    ) -> Result<(), Failure> {
        let clocks = match Clocks::find() {
            Ok(clocks) => Some(clocks),
            Err(why) => {
                eprintln!("no clock is made wrong: {why}");
                None
            }
        };
        for number in 0..workers {
            let subject = Subject::on_server(self.bench, format!("worker-{number}"), store)?;
            let subject = subject.with_runtime(runtime);
            let environment = clocks
                .as_ref()
                .map(|clocks| clocks.of(number))
                .unwrap_or_default();
            self.storm.wrong_clocks += usize::from(!environment.is_empty());
            let mut worker = Worker {
                said: subject.workspace.join("said"),
                subject,
                environment,
                running: None,
                stopped_until: None,
            };
            worker.start(self.bench)?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// Lets things happen until `until`, or until all runs have ended.
    fn weather(
        &mut self,
        watcher: &Subject,
        runs: usize,
        until: Instant,
        chance: &mut Chance,
    ) -> Result<(), Failure> {
        let of_engine = if self.engine.is_some() { 2 } else { 0 };
        let mut first = FIRST.into_iter().chain(repeat_n(Event::Engine, of_engine));
        let mut looked = Instant::now();
        while Instant::now() < until {
            sleep(chance.millis(BETWEEN.0, BETWEEN.1));
            self.tend()?;
            let event = first.next();
            let has_more = event.is_some();
            self.happen(event.unwrap_or_else(|| any(chance)), chance)?;
            if !has_more && looked.elapsed() > Duration::from_secs(3) {
                looked = Instant::now();
                if ended(self.bench, watcher)? >= runs {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ends what has lasted long enough, and starts workers again that have ended.
    fn tend(&mut self) -> Result<(), Failure> {
        if let Some(engine) = &mut self.engine {
            engine.tend(self.bench)?;
        }
        let now = Instant::now();
        if self.refused_until.is_some_and(|until| now >= until) {
            self.refused_until = None;
            self.proxy.refuse(false);
        }
        for worker in &mut self.workers {
            match worker.stopped_until {
                Some(until) if now >= until => worker.go_on()?,
                Some(_) => {}
                None => self.faults.extend(worker.look_after(self.bench)?),
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event, chance: &mut Chance) -> Result<(), Failure> {
        match event {
            Event::Kill => {
                let Some(worker) = one_of(&mut self.workers, chance) else {
                    return Ok(());
                };
                if let Some(mut running) = worker.running.take() {
                    running.kill()?;
                    self.storm.kills += 1;
                }
            }
            Event::Stop => {
                // Somebody must be there to take over.
                let stopped = self
                    .workers
                    .iter()
                    .filter(|worker| worker.stopped_until.is_some());
                if stopped.count() * 2 >= self.workers.len() {
                    return Ok(());
                }
                let Some(worker) = one_of(&mut self.workers, chance) else {
                    return Ok(());
                };
                if worker.running.is_some() {
                    worker.signal(Signal::STOP)?;
                    worker.stopped_until =
                        Some(Instant::now() + chance.millis(STOPPED.0, STOPPED.1));
                    self.storm.stops += 1;
                }
            }
            Event::Cut => self.storm.cuts += self.proxy.cut(chance, 50),
            Event::Refuse => {
                self.proxy.refuse(true);
                self.storm.cuts += self.proxy.cut(chance, 100);
                self.storm.refusals += 1;
                self.refused_until = Some(Instant::now() + chance.millis(REFUSED.0, REFUSED.1));
            }
            Event::Restart => {
                self.server.restart()?;
                self.storm.restarts += 1;
                self.end_some_of_the_engine()?;
            }
            Event::Engine => self.end_some_of_the_engine()?,
        }
        Ok(())
    }

    fn end_some_of_the_engine(&mut self) -> Result<(), Failure> {
        if let Some(engine) = &mut self.engine {
            engine.end_something()?;
            self.storm.engine_ends += 1;
        }
        Ok(())
    }

    /// Lets the fleet do its work.
    fn calm(&mut self, watcher: &Subject, runs: usize, deadline: Instant) -> Result<(), Failure> {
        self.refused_until = None;
        self.proxy.refuse(false);
        for worker in &mut self.workers {
            if worker.stopped_until.is_some() {
                worker.go_on()?;
            }
        }
        loop {
            self.tend()?;
            let ended = ended(self.bench, watcher)?;
            if ended >= runs {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.faults.push(format!(
                    "only {ended} of {runs} runs ended in time; give it more with --seconds"
                ));
                return Ok(());
            }
            sleep(PAUSE);
        }
    }

    /// Asks every worker to stop, which must end well.
    fn dismiss(&mut self) -> Result<(), Failure> {
        for worker in &self.workers {
            worker.signal(Signal::TERM)?;
        }
        for worker in &mut self.workers {
            let Some(mut running) = worker.running.take() else {
                continue;
            };
            match running.wait(PATIENCE)? {
                Some(status) if status.success() => {}
                ended => self.faults.push(format!(
                    "{} was asked to stop, and what came of it is {ended:?}: {}",
                    worker.subject.run,
                    last(&worker.subject.errors())
                )),
            }
            if worker.subject.errors().contains("panicked") {
                self.faults.push(format!("{} panicked", worker.subject.run));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_the_same_behind_the_proxy_but_for_its_port() {
        let (url, proxy) = behind_proxy("postgres://me@127.0.0.1:5432/db").unwrap();
        assert_eq!(url, format!("postgres://me@127.0.0.1:{}/db", proxy.port()));
        assert!(behind_proxy("postgres://me@host/db").is_err());
    }
}
