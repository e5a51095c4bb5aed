//! Group commit: one task owns the only connection that writes, and commits everything that waits in one transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use seaworthy_ports::state_store::{Appended, StateStoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::append::{self, PreparedAppend};
use crate::error::{Class, Failure, classify};

/// How many writes one transaction takes.
const MAX_GROUP: usize = 512;
/// How many writes wait beside the group being committed; more wait outside, without order.
const QUEUE: usize = 1024;
/// How many bytes the waiting writes may hold, in [`UNIT`]s.
const MAX_UNITS: usize = 16 * 1024;
const UNIT: usize = 4 * 1024;
/// The longest that a group waits for the writers of the group before it to come back.
const MAX_GATHER: Duration = Duration::from_micros(500);

/// One write, made of statements in the group's transaction.
///
/// It may be applied twice: when another member of its group fails unexpectedly, the group is rolled back and every
/// member gets a transaction of its own. A refusal is an output, and must not have written anything.
#[async_trait]
pub(crate) trait Work: Send + 'static {
    /// What the caller gets once the transaction is committed.
    type Output: Send + 'static;

    /// Executes the write.
    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Self::Output, sqlx::Error>;

    /// About how many bytes it holds while it waits.
    fn bytes(&self) -> usize {
        0
    }
}

/// The way to the writing task. When the last clone is dropped, the task commits what waits and ends.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Queued>,
    units: Arc<Semaphore>,
}

struct Queued {
    member: Member,
    _units: OwnedSemaphorePermit,
}

enum Member {
    Append(Box<AppendMember>),
    Work(Box<dyn Job>),
    /// Ends the task once everything queued before is committed.
    Close(oneshot::Sender<()>),
}

pub(crate) struct AppendMember {
    pub(crate) append: PreparedAppend,
    pub(crate) outcome: Option<Result<Appended, StateStoreError>>,
    reply: oneshot::Sender<Result<Result<Appended, StateStoreError>, Failure>>,
}

#[async_trait]
trait Job: Send {
    fn is_abandoned(&self) -> bool;
    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error>;
    fn reply(self: Box<Self>, result: Result<(), Failure>);
}

struct WorkMember<W: Work> {
    work: W,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output, Failure>>,
}

#[async_trait]
impl<W: Work> Job for WorkMember<W> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.output = Some(self.work.apply(connection).await?);
        Ok(())
    }

    fn reply(self: Box<Self>, result: Result<(), Failure>) {
        let Self { output, reply, .. } = *self;
        // The caller may have gone; the outcome stands all the same.
        let _gone = reply.send(result.and_then(|()| output.ok_or_else(Failure::closed)));
    }
}

impl Writer {
    /// Starts the task on this connection; `options` open another one should it break.
    pub(crate) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = Task {
            waiting,
            options,
            connection: Some(connection),
            gathering: Gathering::default(),
        };
        tokio::spawn(task.run());
        Self {
            queue,
            units: Arc::new(Semaphore::new(MAX_UNITS)),
        }
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
        append: PreparedAppend,
    ) -> Result<Result<Appended, StateStoreError>, Failure> {
        let bytes = append.bytes();
        let (reply, outcome) = oneshot::channel();
        let member = Member::Append(Box::new(AppendMember {
            append,
            outcome: None,
            reply,
        }));
        self.enqueue(member, bytes).await?;
        outcome.await.unwrap_or_else(|_gone| Err(Failure::lost()))
    }

    /// Commits what waits, closes the connection and ends the task. Later writes fail.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.enqueue(Member::Close(reply), 0).await.is_ok() {
            // An error means that the task is gone, which is what was asked for.
            let _gone = closed.await;
        }
    }

    async fn enqueue(&self, member: Member, bytes: usize) -> Result<(), Failure> {
        let units = (bytes / UNIT + 1).min(MAX_UNITS);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let _units = Arc::clone(&self.units)
            .acquire_many_owned(units)
            .await
            .map_err(|_closed| Failure::closed())?;
        self.queue
            .send(Queued { member, _units })
            .await
            .map_err(|_closed| Failure::closed())
    }
}

struct Task {
    waiting: mpsc::Receiver<Queued>,
    options: SqliteConnectOptions,
    /// `None` after it broke.
    connection: Option<SqliteConnection>,
    gathering: Gathering,
}

/// What the group before was like. Its writers come back together: without a moment's patience the first of them would
/// get a transaction of its own and the rest would wait for it.
#[derive(Default)]
struct Gathering {
    members: usize,
    took: Duration,
}

/// At which point a transaction failed.
enum Broken {
    Begin(Arc<sqlx::Error>),
    Member(Arc<sqlx::Error>),
    Commit(Arc<sqlx::Error>),
}

impl Task {
    async fn run(mut self) {
        let mut group = Vec::new();
        let mut closing = Vec::new();
        while self.waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
            self.gather(&mut group).await;
            let started = Instant::now();
            let mut members = Vec::with_capacity(group.len());
            // The permits are kept until the group is committed: what is being written still takes memory.
            let mut permits = Vec::with_capacity(group.len());
            for Queued { member, _units } in group.drain(..) {
                permits.push(_units);
                match member {
                    Member::Close(reply) => closing.push(reply),
                    member if member.is_abandoned() => {}
                    member => members.push(member),
                }
            }
            let count = members.len();
            self.commit(members).await;
            drop(permits);
            self.gathering = Gathering {
                members: count,
                took: started.elapsed(),
            };
            if !closing.is_empty() {
                self.waiting.close();
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the writing connection did not close in order");
        }
        for reply in closing {
            // Whoever asked may have gone.
            let _gone = reply.send(());
        }
    }

    async fn gather(&mut self, group: &mut Vec<Queued>) {
        let patience = (self.gathering.took / 4).min(MAX_GATHER);
        let started = Instant::now();
        while group.len() < self.gathering.members && started.elapsed() < patience {
            tokio::task::yield_now().await;
            while group.len() < MAX_GROUP
                && let Ok(queued) = self.waiting.try_recv()
            {
                group.push(queued);
            }
        }
    }

    async fn commit(&mut self, mut members: Vec<Member>) {
        match self.attempt(&mut members).await {
            Err(Broken::Member(_)) if members.len() > 1 => self.commit_one_by_one(members).await,
            result => reply_all(members, &result),
        }
    }

    /// After one member failed unexpectedly: the others must not suffer for it.
    async fn commit_one_by_one(&mut self, members: Vec<Member>) {
        let mut members = members.into_iter();
        while let Some(member) = members.next() {
            let mut alone = vec![member];
            let result = self.attempt(&mut alone).await;
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
    async fn attempt(&mut self, members: &mut [Member]) -> Result<(), Broken> {
        if members.is_empty() {
            return Ok(());
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self
                .options
                .connect()
                .await
                .map_err(|error| Broken::Begin(Arc::new(error)))?,
        };
        if let Err(error) = execute(&mut connection, "BEGIN IMMEDIATE").await {
            // Busy is the only failure that leaves a connection as good as it was.
            if classify(&error) == Class::Busy {
                self.connection = Some(connection);
            }
            return Err(Broken::Begin(Arc::new(error)));
        }
        if let Err(error) = apply(members, &mut connection).await {
            // If this fails too, SQLite rolled back by itself or is beyond help: a new connection is right for both.
            if execute(&mut connection, "ROLLBACK").await.is_ok() {
                self.connection = Some(connection);
            }
            return Err(Broken::Member(Arc::new(error)));
        }
        if let Err(error) = execute(&mut connection, "COMMIT").await {
            // Closing the connection rolls back what is not committed.
            drop(connection);
            return Err(Broken::Commit(Arc::new(error)));
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// All appends in a fixed number of statements, then everything else in the order of arrival.
async fn apply(
    members: &mut [Member],
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let mut appends = Vec::new();
    let mut jobs = Vec::new();
    for member in members {
        match member {
            Member::Append(append) => appends.push(&mut **append),
            Member::Work(job) => jobs.push(job),
            Member::Close(_) => {}
        }
    }
    append::apply(&mut appends, connection).await?;
    for job in jobs {
        job.apply(connection).await?;
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
            Self::Append(append) => append.reply.is_closed(),
            Self::Work(job) => job.is_abandoned(),
            Self::Close(_) => false,
        }
    }

    fn reply(self, result: Result<(), Failure>) {
        match self {
            Self::Append(append) => {
                let AppendMember { outcome, reply, .. } = *append;
                // The caller may have gone; the outcome stands all the same.
                let _gone = reply.send(result.and_then(|()| outcome.ok_or_else(Failure::closed)));
            }
            Self::Work(job) => job.reply(result),
            Self::Close(_) => {}
        }
    }
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}
