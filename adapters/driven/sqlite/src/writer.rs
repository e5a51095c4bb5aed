//! Group commit: one thread owns the only connection that writes, and commits everything that waits in one transaction.
//!
//! It calls SQLite itself. A transaction is a series of short questions, and each that had to be handed to another thread
//! would cost more than its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use seaworthy_ports::state_store::{Append, Appended, StateStoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::append::{self, Statements};
use crate::config::SqliteConfig;
use crate::connection::Opener;
use crate::error::{Class, Failure, classify};
use crate::heads::Heads;
use crate::sql;

/// How many bytes the queued writes may hold, in [`UNIT`]s, at least one for each write. More wait outside.
const MAX_UNITS: u32 = 16 * 1024;
const UNIT: usize = 4 * 1024;
/// A small group looks for more so often, and for so long at most.
const PAUSE: Duration = Duration::from_micros(20);
const MAX_PAUSE: Duration = Duration::from_millis(1);
/// With as many, a commit costs each little: no larger group is tried for.
const FULL: usize = 24;
/// From as many on, a larger group is tried for; after one that did not come together, so many groups later again.
const SEVERAL: usize = 4;
const REST: u32 = 16;

/// One write, made of statements in the group's transaction.
///
/// It may be applied twice: when another member of its group fails unexpectedly, the group is rolled back and every
/// member gets a transaction of its own. A refusal is an output, and must not have written anything.
pub(crate) trait Work: Send + 'static {
    /// What the caller gets once the transaction is committed.
    type Output: Send + 'static;

    /// Executes the write.
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Self::Output>;

    /// About how many bytes it holds while it waits.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it changes the heads of logs.
    fn changes_heads(&self) -> bool {
        false
    }
}

/// The way to the writing thread. When the last clone is dropped, the thread commits what waits and ends.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    /// Bounded by `units`.
    queue: mpsc::UnboundedSender<Queued>,
    units: Arc<Semaphore>,
}

struct Queued {
    member: Member,
    /// Free again once the group is committed: what is being written still takes memory.
    units: u32,
}

enum Member {
    Append(
        Box<AppendMember>,
        oneshot::Sender<Result<Box<AppendMember>, Failure>>,
    ),
    Work(Box<dyn Job>),
    /// Ends the thread once everything queued before is committed.
    Close(oneshot::Sender<()>),
}

/// It goes back to its caller whole: there are many threads to free what it holds, and one that writes.
struct AppendMember {
    append: Append,
    outcome: Option<Result<Appended, StateStoreError>>,
}

trait Job: Send {
    fn is_abandoned(&self) -> bool;
    fn changes_heads(&self) -> bool;
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn reply(self: Box<Self>, result: Result<(), Failure>);
}

struct WorkMember<W: Work> {
    work: W,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output, Failure>>,
}

impl<W: Work> Job for WorkMember<W> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn changes_heads(&self) -> bool {
        self.work.changes_heads()
    }

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.output = Some(self.work.apply(connection)?);
        Ok(())
    }

    fn reply(self: Box<Self>, result: Result<(), Failure>) {
        let Self { output, reply, .. } = *self;
        // The caller may have gone; the outcome stands all the same.
        let _gone = reply.send(result.and_then(|()| output.ok_or_else(Failure::closed)));
    }
}

impl Writer {
    /// Starts the thread on this connection; `opener` opens another one should it break.
    pub(crate) fn start(
        connection: Connection,
        opener: Opener,
        config: &SqliteConfig,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let units = Arc::new(Semaphore::new(MAX_UNITS as usize));
        let thread = Thread {
            waiting,
            units: Arc::clone(&units),
            opener,
            connection: Some(connection),
            heads: Heads::new(config.max_heads),
            max_heads: config.max_heads,
            max_group: config.max_group.max(1),
            last: Last::default(),
        };
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self { queue, units })
    }

    /// Commits one write and returns its output. Dropping the future leaves the outcome unknown.
    pub(crate) async fn write<W: Work>(&self, work: W) -> Result<W::Output, Failure> {
        let bytes = work.bytes();
        let (reply, outcome) = oneshot::channel();
        let member = Member::Work(Box::new(WorkMember {
            work,
            output: None,
            reply,
        }));
        self.enqueue(member, bytes).await?;
        outcome.await.unwrap_or_else(|_gone| Err(Failure::lost()))
    }

    /// Commits one append. Dropping the future leaves the outcome unknown.
    pub(crate) async fn append(
        &self,
        append: Append,
    ) -> Result<Result<Appended, StateStoreError>, Failure> {
        let bytes = append::size(&append);
        let (reply, outcome) = oneshot::channel();
        let member = AppendMember {
            append,
            outcome: None,
        };
        let member = Member::Append(Box::new(member), reply);
        self.enqueue(member, bytes).await?;
        let member = outcome.await.unwrap_or_else(|_gone| Err(Failure::lost()))?;
        member.outcome.ok_or_else(Failure::closed)
    }

    /// Commits what waits, closes the connection and ends the thread. Later writes fail.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.enqueue(Member::Close(reply), 0).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            let _gone = closed.await;
        }
    }

    async fn enqueue(&self, member: Member, bytes: usize) -> Result<(), Failure> {
        let units = u32::try_from(bytes / UNIT + 1).unwrap_or(MAX_UNITS);
        let units = units.min(MAX_UNITS);
        let permit = self.units.acquire_many(units).await;
        // The thread frees them, many at once.
        permit.map_err(|_closed| Failure::closed())?.forget();
        self.queue
            .send(Queued { member, units })
            .map_err(|_closed| Failure::closed())
    }
}

struct Thread {
    waiting: mpsc::UnboundedReceiver<Queued>,
    units: Arc<Semaphore>,
    opener: Opener,
    /// `None` after it broke.
    connection: Option<Connection>,
    /// As the last transaction that succeeded left them.
    heads: Heads,
    max_heads: usize,
    max_group: usize,
    last: Last,
}

/// The last group, and how many the next one waits for.
#[derive(Default)]
struct Last {
    members: usize,
    took: Duration,
    /// What is tried for, and when it may grow again.
    aim: usize,
    rest: u32,
}

impl Last {
    /// How many are enough: most of those who were just answered, or more where runs come as fast as they are waited for.
    fn enough(&self) -> usize {
        self.aim.max(self.members - self.members.div_ceil(4))
    }

    /// A group has come together, with as many as were enough or less.
    fn gathered(&mut self, members: usize) {
        if members < self.enough() {
            self.aim = members - members.div_ceil(4);
            self.rest = REST;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else if members >= SEVERAL {
            let more = members + members.div_ceil(4);
            self.aim = self.aim.max(more.min(FULL));
        }
    }
}

/// At which point a transaction failed.
enum Broken {
    Begin(Arc<rusqlite::Error>),
    Member(Arc<rusqlite::Error>),
    Commit(Arc<rusqlite::Error>),
}

impl Thread {
    fn run(mut self) {
        let mut group = Vec::new();
        let mut closing = Vec::new();
        while self.waiting.blocking_recv_many(&mut group, self.max_group) > 0 {
            self.gather(&mut group);
            let began = Instant::now();
            let count = group.len();
            let mut members = Vec::with_capacity(group.len());
            let mut taken = 0_usize;
            for Queued { member, units } in group.drain(..) {
                taken += units as usize;
                match member {
                    Member::Close(reply) => closing.push(reply),
                    member if member.is_abandoned() => {}
                    member => members.push(member),
                }
            }
            self.commit(members);
            self.units.add_permits(taken);
            self.last.members = count;
            self.last.took = began.elapsed();
            if !closing.is_empty() {
                self.waiting.close();
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err((_connection, error)) = connection.close()
        {
            tracing::warn!(%error, "the writing connection did not close in order");
        }
        for reply in closing {
            // Whoever asked may have gone.
            let _gone = reply.send(());
        }
    }

    /// Waits for more while they keep coming: a commit for each few of them would keep the device and the processor from
    /// all the others. Ends when nobody came for as long as the last commit took. Whoever writes alone never waits.
    fn gather(&mut self, group: &mut Vec<Queued>) {
        let enough = self.last.enough();
        let patience = self.last.took.min(MAX_PAUSE);
        let began = Instant::now();
        let mut newest = began;
        while group.len() < enough && newest.elapsed() < patience && began.elapsed() < MAX_PAUSE {
            std::thread::sleep(PAUSE);
            let before = group.len();
            while group.len() < self.max_group
                && let Ok(queued) = self.waiting.try_recv()
            {
                group.push(queued);
            }
            if group.len() > before {
                newest = Instant::now();
            }
        }
        self.last.gathered(group.len());
    }

    fn commit(&mut self, mut members: Vec<Member>) {
        match self.attempt(&mut members) {
            Err(Broken::Member(_)) if members.len() > 1 => self.commit_one_by_one(members),
            result => reply_all(members, &result),
        }
    }

    /// After one member failed unexpectedly: the others must not suffer for it.
    fn commit_one_by_one(&mut self, members: Vec<Member>) {
        let mut members = members.into_iter();
        while let Some(member) = members.next() {
            let mut alone = vec![member];
            let result = self.attempt(&mut alone);
            let hopeless = matches!(result, Err(Broken::Begin(_)));
            reply_all(alone, &result);
            if hopeless {
                // Nobody can begin now, and each try may take the whole busy timeout.
                reply_all(members.collect(), &result);
                return;
            }
        }
    }

    /// One transaction. On failure it is rolled back, except that a failed commit may yet have reached the disk.
    fn attempt(&mut self, members: &mut [Member]) -> Result<(), Broken> {
        if members.is_empty() {
            return Ok(());
        }
        let known = Heads::new(self.max_heads);
        // They are put back once they are true again.
        let mut heads = std::mem::replace(&mut self.heads, known);
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                heads.forget();
                self.opener
                    .open_writing()
                    .map_err(|error| Broken::Begin(Arc::new(error)))?
            }
        };
        match begin(&connection) {
            Ok(data_version) => heads.at_version(data_version),
            Err(error) => {
                // Busy is the only failure that leaves a connection as good as it was.
                if classify(&error) == Class::Busy {
                    self.connection = Some(connection);
                }
                return Err(Broken::Begin(Arc::new(error)));
            }
        }
        if let Err(error) = apply(members, &mut heads, &connection) {
            // If this fails too, SQLite rolled back by itself or is beyond help: a new connection is right for both.
            if sql::execute(&connection, "ROLLBACK", []).is_ok() {
                self.connection = Some(connection);
            }
            return Err(Broken::Member(Arc::new(error)));
        }
        if let Err(error) = sql::execute(&connection, "COMMIT", []) {
            // Closing the connection rolls back what is not committed.
            drop(connection);
            return Err(Broken::Commit(Arc::new(error)));
        }
        self.connection = Some(connection);
        self.heads = heads;
        Ok(())
    }
}

/// Begins a transaction that may write. Returns the count of what others committed before it.
fn begin(connection: &Connection) -> rusqlite::Result<i64> {
    sql::execute(connection, "BEGIN IMMEDIATE", [])?;
    let version = sql::one(connection, "PRAGMA data_version", [], |row| row.get(0));
    if version.is_err() {
        // The connection is dropped, or goes on after a busy file, without a transaction.
        let _rolled_back = sql::execute(connection, "ROLLBACK", []);
    }
    version
}

/// All members in the order of arrival.
fn apply(
    members: &mut [Member],
    heads: &mut Heads,
    connection: &Connection,
) -> rusqlite::Result<()> {
    let mut statements = Statements::prepare(connection)?;
    for member in members {
        match member {
            Member::Append(member, _) => {
                member.outcome = Some(append::apply(&member.append, heads, &mut statements)?);
            }
            Member::Work(job) => {
                job.apply(connection)?;
                if job.changes_heads() {
                    heads.forget();
                }
            }
            Member::Close(_) => {}
        }
    }
    Ok(())
}

fn reply_all(members: Vec<Member>, result: &Result<(), Broken>) {
    let result = match result {
        Ok(()) => Ok(()),
        Err(Broken::Begin(error) | Broken::Member(error)) => Err(Failure::without_effect(error)),
        // A commit that found the database busy did nothing. Any other may have written its frames before it failed.
        Err(Broken::Commit(error)) if classify(error) == Class::Busy => {
            Err(Failure::without_effect(error))
        }
        Err(Broken::Commit(error)) => Err(Failure::unknown(error)),
    };
    for member in members {
        member.reply(result.clone());
    }
}

impl Member {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Append(_, reply) => reply.is_closed(),
            Self::Work(job) => job.is_abandoned(),
            Self::Close(_) => false,
        }
    }

    fn reply(self, result: Result<(), Failure>) {
        match self {
            Self::Append(append, reply) => {
                // The caller may have gone; the outcome stands all the same.
                let _gone = reply.send(result.map(|()| append));
            }
            Self::Work(job) => job.reply(result),
            Self::Close(_) => {}
        }
    }
}
