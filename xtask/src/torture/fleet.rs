//! A fleet: several workers on one database server, with everything that happens to fleets happening at once.
//!
//! Workers are killed, stopped past their leases and continued; their connections are cut and refused; the server ends as
//! in a crash and comes back; some clocks are an hour off. Then it is calm, and every run must end as if nothing had been.

use std::fs;
use std::iter::repeat_n;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::agent::Bench;
use super::chance::Chance;
use super::checks::{Totals, check};
use super::clocks::Clocks;
use super::engine::Engine;
use super::process::{Running, Subject, Variable};
use super::proxy::Proxy;
use crate::failure::Failure;
use crate::services::{Kind, Supervised, postgres};

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
/// What the database may hold of a run in the end, in bytes. An undisturbed one has some 150,000.
const MOST_OF_A_RUN: u64 = 1_000_000;
/// What an empty schema has.
const MOST_OF_NONE: u64 = 2_000_000;

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Storm {
    pub(super) kills: u32,
    pub(super) stops: u32,
    pub(super) cuts: u64,
    pub(super) refusals: u32,
    pub(super) restarts: u32,
    /// Ends of the Restate server and of its handlers.
    pub(super) engine_ends: u32,
    pub(super) wrong_clocks: usize,
}

impl Storm {
    pub(super) fn shown(&self) -> Value {
        json!({
            "kills": self.kills, "stops": self.stops, "connections_cut": self.cuts, "refusals": self.refusals,
            "server_restarts": self.restarts, "wrong_clocks": self.wrong_clocks, "engine_ends": self.engine_ends,
        })
    }

    /// What did not happen although it should have.
    fn missing(&self, on_restate: bool) -> Vec<String> {
        [
            (
                on_restate && self.engine_ends < 2,
                "the Restate server and its handlers were not both killed",
            ),
            (self.kills == 0, "no worker was killed"),
            (self.stops == 0, "no worker was stopped past its lease"),
            (self.cuts == 0, "no connection was cut"),
            (self.refusals == 0, "no connection was refused"),
            (self.restarts == 0, "the server was not restarted"),
        ]
        .into_iter()
        .filter(|(is_missing, _)| *is_missing)
        .map(|(_, what)| {
            format!("{what}, so nothing was shown; give it more with --runs and --seconds")
        })
        .collect()
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Kill,
    Stop,
    Cut,
    Refuse,
    Restart,
    /// The Restate server or its handlers, where there are any.
    Engine,
}

/// Each once, so that a short storm has everything.
const FIRST: [Event; 5] = [
    Event::Stop,
    Event::Cut,
    Event::Kill,
    Event::Restart,
    Event::Refuse,
];

/// A worker, or the place of one that has ended.
#[derive(Debug)]
struct Worker {
    subject: Subject,
    environment: Vec<Variable>,
    /// What it has said, in this life.
    said: PathBuf,
    running: Option<Running>,
    stopped_until: Option<Instant>,
}

impl Worker {
    fn start(&mut self, bench: &Bench) -> Result<(), Failure> {
        // What an earlier life said is nobody's any more; that it is not there is fine.
        let _absent = fs::remove_file(&self.said);
        self.running = Some(
            self.subject
                .telling_worker(bench, &self.environment, &self.said)?,
        );
        Ok(())
    }

    /// Whether it has served in this life.
    fn has_served(&self) -> bool {
        fs::read_to_string(&self.said).is_ok_and(|said| said.contains("\"health\""))
    }

    /// Starts it again where it has ended by itself. That is a fault unless it found no server as it started.
    fn look_after(&mut self, bench: &Bench) -> Result<Option<String>, Failure> {
        let ended = match &mut self.running {
            Some(running) => running.wait(Duration::ZERO)?,
            None => None,
        };
        let mut fault = None;
        if let Some(status) = ended {
            self.running = None;
            if self.has_served() || status.code() != Some(2) {
                fault = Some(format!(
                    "{} ended by itself with {status}: {}",
                    self.subject.run,
                    last(&self.subject.errors())
                ));
            }
        }
        if self.running.is_none() {
            self.start(bench)?;
        }
        Ok(fault)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.running
            .as_ref()
            .map_or(Ok(()), |running| running.signal(signal))
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        self.stopped_until = None;
        self.signal(Signal::CONT)
    }
}

fn last(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
}

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

/// A worker that is not stopped.
fn one_of<'a>(workers: &'a mut [Worker], chance: &mut Chance) -> Option<&'a mut Worker> {
    let mut free: Vec<&mut Worker> = workers
        .iter_mut()
        .filter(|worker| worker.stopped_until.is_none())
        .collect();
    let at = chance.below(free.len())?;
    (at < free.len()).then(|| free.swap_remove(at))
}

fn any(chance: &mut Chance) -> Event {
    match chance.below(100).unwrap_or_default() {
        0..30 => Event::Kill,
        30..40 => Event::Stop,
        40..80 => Event::Cut,
        80..92 => Event::Refuse,
        _ => Event::Restart,
    }
}

/// How many runs have ended; none where the server is away.
fn ended(bench: &Bench, watcher: &Subject) -> Result<usize, Failure> {
    let (runs, _exit) = watcher.ask_for(bench, &["runs", "--limit", "100000"])?;
    let runs = runs.as_array().cloned().unwrap_or_default();
    Ok(runs
        .iter()
        .filter_map(|run| run.get("status").and_then(Value::as_str))
        .filter(|status| matches!(*status, "succeeded" | "failed" | "cancelled"))
        .count())
}

/// Holds every run against the reference, several at once.
fn checked(
    bench: &Bench,
    jobs: u32,
    subjects: &[Subject],
    reference: &Value,
) -> Result<Totals, Failure> {
    let next = AtomicUsize::new(0);
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        let checking: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (seen, _summary) = check(bench, subject, Some(reference))?;
                        totals
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .add(seen);
                    }
                    Ok(())
                })
            })
            .collect();
        checking.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_panic| Err(Failure::new("a check panicked")))
        })
    })?;
    Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with what the database holds in the end: leases, runs that could still be claimed, and too much.
fn stored(url: &str, schema: &str, runs: usize) -> Vec<String> {
    let number = |question: &str| match postgres::ask(url, question) {
        None => Err("there is no psql, so nobody knows what the database holds".to_owned()),
        Some(Err(failure)) => Err(failure.to_string()),
        Some(Ok(answer)) => answer
            .parse::<u64>()
            .map_err(|_no_number| format!("psql answered {answer:?}")),
    };
    let most = MOST_OF_NONE + MOST_OF_A_RUN * u64::try_from(runs).unwrap_or(u64::MAX);
    let bounds = [
        (
            "leases are left",
            format!("SELECT count(*) FROM {schema}.runs WHERE state = 1"),
            0,
        ),
        (
            "runs are not finished",
            format!("SELECT count(*) FROM {schema}.runs WHERE state <> 3"),
            0,
        ),
        (
            "signals wait",
            format!("SELECT count(*) FROM {schema}.signals WHERE payload IS NOT NULL"),
            0,
        ),
        (
            "bytes are stored",
            format!(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}' AND c.relkind = 'r'"
            ),
            most,
        ),
    ];
    let mut faults = Vec::new();
    for (what, question, most) in bounds {
        match number(&question) {
            Ok(found) if found <= most => {}
            Ok(found) => faults.push(format!("{found} {what}, at most {most} may be")),
            Err(why) => {
                faults.push(why);
                break;
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::checks::tests::program;
    use super::*;

    #[test]
    fn a_storm_without_one_of_its_parts_shows_nothing() {
        assert_eq!(Storm::default().missing(false).len(), 5);
        let whole = Storm {
            kills: 1,
            stops: 1,
            cuts: 1,
            refusals: 1,
            restarts: 1,
            engine_ends: 0,
            wrong_clocks: 0,
        };
        assert_eq!(whole.missing(false), [""; 0]);
        let calm = Storm {
            restarts: 0,
            ..whole
        };
        assert_eq!(calm.missing(false).len(), 1);
    }

    #[test]
    fn a_url_is_the_same_behind_the_proxy_but_for_its_port() {
        let (url, proxy) = behind_proxy("postgres://me@127.0.0.1:5432/db").unwrap();
        assert_eq!(url, format!("postgres://me@127.0.0.1:{}/db", proxy.port()));
        assert!(behind_proxy("postgres://me@host/db").is_err());
    }

    /// A schema with as much of the adapter's tables as is asked for; dropped with this.
    struct Database {
        url: String,
        schema: String,
    }

    impl Database {
        fn new(name: &str) -> Self {
            let database = Self {
                url: std::env::var(Kind::Postgres.variable()).unwrap(),
                schema: format!("torture_{}_{name}", std::process::id()),
            };
            let schema = &database.schema;
            database.does(&format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.runs (state smallint NOT NULL);
                CREATE TABLE {schema}.signals (payload bytea); INSERT INTO {schema}.runs VALUES (3), (3);
                INSERT INTO {schema}.signals VALUES (NULL)"
            ));
            database
        }

        fn does(&self, statement: &str) {
            postgres::ask(&self.url, statement).unwrap().unwrap();
        }

        /// What is said of it once this was done to it.
        fn with(&self, tampering: &str) -> Vec<String> {
            self.does(&tampering.replace("HERE", &self.schema));
            stored(&self.url, &self.schema, 1)
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
            let _left = postgres::ask(&self.url, &drop);
        }
    }

    #[test]
    #[cfg_attr(
        not(has_postgres),
        ignore = "needs PostgreSQL: cargo xtask test starts one"
    )]
    fn a_lease_a_run_that_has_not_ended_a_signal_and_too_much_storage_are_found() {
        let database = Database::new("stored");
        assert_eq!(database.with("SELECT 1"), [""; 0]);
        // A lease is also a run that has not ended.
        let leased = database.with("UPDATE HERE.runs SET state = 1");
        assert_eq!(leased.len(), 2, "{leased:?}");
        let parked = database.with("UPDATE HERE.runs SET state = 2");
        assert_eq!(parked.len(), 1, "{parked:?}");
        let waiting =
            database.with("UPDATE HERE.runs SET state = 3; UPDATE HERE.signals SET payload = ''");
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        let large = MOST_OF_NONE + MOST_OF_A_RUN;
        let filled = database.with(&format!(
            "UPDATE HERE.signals SET payload = NULL; CREATE TABLE HERE.appends AS
            SELECT repeat('x', 1000) FROM generate_series(1, {})",
            large / 1000
        ));
        assert_eq!(filled.len(), 1, "{filled:?}");
        let gone = database.with("DROP TABLE HERE.runs");
        assert_eq!(gone.len(), 1, "{gone:?}");
    }

    /// A worker whose program is this script.
    fn worker(bench: &Bench) -> Worker {
        let subject = Subject::on_server(bench, "worker-0".to_owned(), "postgres://none").unwrap();
        Worker {
            said: subject.workspace.join("said"),
            subject,
            environment: Vec::new(),
            running: None,
            stopped_until: None,
        }
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_found_unless_it_had_no_server_yet() {
        for (script, is_fault) in [
            ("exit 2", false),
            ("exit 1", true),
            ("exit 0", true),
            ("echo '{\"health\":1}'; exit 2", true),
            ("kill -9 $$", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let bench = Bench::new(program(folder.path(), script)).unwrap();
            let mut worker = worker(&bench);
            worker.start(&bench).unwrap();
            let ended = worker.running.as_mut().unwrap().wait(PATIENCE).unwrap();
            assert!(ended.is_some(), "{script}");
            let fault = worker.look_after(&bench).unwrap();
            assert_eq!(fault.is_some(), is_fault, "{script}: {fault:?}");
        }
    }

    #[test]
    fn runs_that_have_not_ended_are_counted_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let runs = json!([
            { "status": "succeeded" }, { "status": "failed" }, { "status": "cancelled" },
            { "status": "running" }, { "status": "waiting" }, {},
        ]);
        let script = format!("echo '{runs}'");
        let bench = Bench::new(program(folder.path(), &script)).unwrap();
        let watcher = worker(&bench).subject;
        assert_eq!(ended(&bench, &watcher).unwrap(), 3);
    }
}
