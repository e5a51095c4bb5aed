//! Appends on their way: whatever waits travels as one statement. An append lets tasks that can run now make theirs, and
//! waits for nothing else to come.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::state_store::Append;
use seaworthy_ports::{Effect, LogId};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::PostgresConfig;
use crate::append::{self, MAX_APPEND_BYTES, Outcome};
use crate::database::{Database, FRESH, is_alive, one};
use crate::error::{Class, Failure};

/// How many appends wait at most; whoever makes more waits for a place.
const WAITING: usize = 4_096;
/// How many bytes of waiting appends are kept in memory, in units.
const UNIT: usize = 4 * 1024;
const MAX_UNITS: usize = 64 * 1024 * 1024 / UNIT;
/// How many bytes one batch has, unless a single append has more.
const BATCH_BYTES: usize = MAX_APPEND_BYTES;
/// How long an append is left alone whose head somebody else has: longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// How long a lane keeps its connection.
const LANE_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What a caller is told.
pub(crate) type Reply = Result<Outcome, Failure>;

/// The way to the dispatcher. When the last clone is dropped, it sends what waits and ends.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    units: Arc<Semaphore>,
    patience: Duration,
}

enum Message {
    Append(Box<Member>),
    /// Ends the dispatcher once everything queued before has its answer.
    Close(oneshot::Sender<()>),
}

struct Member {
    append: Append,
    bytes: usize,
    reply: oneshot::Sender<Reply>,
    /// When it is told that its log is held by somebody else.
    deadline: Instant,
    /// Not before this, and how often it was put off.
    not_before: Option<Instant>,
    pauses: u32,
    /// Whether it may have been what failed a batch: then it travels alone.
    alone: bool,
    _units: OwnedSemaphorePermit,
}

impl Writer {
    pub(crate) fn start(database: &Database, config: &PostgresConfig) -> Self {
        let (queue, messages) = mpsc::channel(WAITING);
        let lanes = (0..config.lanes()).map(|_number| Lane::default()).collect();
        let dispatcher = Dispatcher {
            messages,
            database: database.clone(),
            lanes,
            max_batch: config.max_batch.max(1),
            patience: config.statement_timeout,
            waiting: VecDeque::new(),
            travelling: HashSet::new(),
            batches: JoinSet::new(),
        };
        database.home.spawn(dispatcher.run());
        Self {
            queue,
            units: Arc::new(Semaphore::new(MAX_UNITS)),
            patience: config.statement_timeout,
        }
    }

    /// Makes one append. Dropping the future leaves the outcome unknown.
    pub(crate) async fn append(&self, append: Append) -> Reply {
        let bytes = append::size(&append);
        let units = u32::try_from((bytes / UNIT + 1).min(MAX_UNITS)).unwrap_or(u32::MAX);
        let _units = Arc::clone(&self.units)
            .acquire_many_owned(units)
            .await
            .map_err(|_closed| Failure::of(Class::Closed))?;
        let (reply, outcome) = oneshot::channel();
        let member = Member {
            append,
            bytes,
            reply,
            deadline: Instant::now() + self.patience,
            not_before: None,
            pauses: 0,
            alone: false,
            _units,
        };
        self.queue
            .send(Message::Append(Box::new(member)))
            .await
            .map_err(|_closed| Failure::of(Class::Closed))?;
        outcome.await.unwrap_or_else(|_gone| Err(Failure::lost()))
    }

    /// Waits for what is queued and gives the lanes' connections back. Later appends fail.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // An error means that the dispatcher is gone, which is what was asked for.
            let _gone = closed.await;
        }
    }
}

/// A connection that appends travel on, kept between batches: taking it from the pool anew would cost a round trip.
#[derive(Default)]
struct Lane(Option<Kept>);

struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

/// What a batch leaves: its lane, which logs it was about, and the members that must travel again.
struct Done {
    lane: Lane,
    logs: Vec<LogId>,
    again: Vec<Member>,
}

struct Dispatcher {
    messages: mpsc::Receiver<Message>,
    database: Database,
    /// Those that no batch travels on.
    lanes: Vec<Lane>,
    max_batch: usize,
    patience: Duration,
    /// In the order of arrival.
    waiting: VecDeque<Member>,
    /// The logs that a batch is about: the next append of each waits for its outcome.
    travelling: HashSet<LogId>,
    batches: JoinSet<Done>,
}

impl Dispatcher {
    async fn run(mut self) {
        let mut closing = Vec::new();
        let mut arrived = Vec::new();
        let mut is_open = true;
        loop {
            let wake = self.start_batches();
            if !is_open && self.waiting.is_empty() && self.batches.is_empty() {
                break;
            }
            let room = WAITING.saturating_sub(self.waiting.len());
            tokio::select! {
                Some(done) = self.batches.join_next() => match done {
                    Ok(done) => self.take_back(done),
                    // A batch runs no code but ours, and its callers learn that it is lost. Its logs may go on.
                    Err(error) => {
                        tracing::error!(%error, "a batch of appends broke");
                        self.lanes.push(Lane::default());
                        self.travelling.clear();
                    }
                },
                count = self.messages.recv_many(&mut arrived, room), if is_open && room > 0 => {
                    is_open = count > 0;
                    if !self.lanes.is_empty() {
                        self.gather(&mut arrived, room).await;
                    }
                    for message in arrived.drain(..) {
                        match message {
                            Message::Append(member) => self.waiting.push_back(*member),
                            Message::Close(reply) => closing.push(reply),
                        }
                    }
                    if !closing.is_empty() {
                        self.messages.close();
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        // Lanes first: whoever waits for the end may wait for the connections, too.
        drop(self.lanes);
        for reply in closing {
            // Whoever asked may have gone.
            let _gone = reply.send(());
        }
    }

    /// Waits for its turn behind the tasks that can run now, and takes what they have sent. The outcomes of a batch let many
    /// appends be made at once; without this, the first of them would travel alone.
    async fn gather(&mut self, arrived: &mut Vec<Message>, room: usize) {
        tokio::task::yield_now().await;
        while arrived.len() < room
            && let Ok(message) = self.messages.try_recv()
        {
            arrived.push(message);
        }
    }

    /// Sends as many batches as there are lanes. Returns when a member that was put off may travel again.
    fn start_batches(&mut self) -> Option<Instant> {
        loop {
            if self.waiting.is_empty() || self.lanes.is_empty() {
                return None;
            }
            let (members, wake) = self.next_batch();
            if members.is_empty() {
                return wake;
            }
            let lane = self.lanes.pop()?;
            let batch = Batch {
                database: self.database.clone(),
                patience: self.patience,
                members,
            };
            self.batches.spawn(batch.send(lane));
        }
    }

    /// Takes what can travel together: at most one append of a log, none of a log that travels, none before its elders.
    fn next_batch(&mut self) -> (Vec<Member>, Option<Instant>) {
        let now = Instant::now();
        let mut members: Vec<Member> = Vec::new();
        let mut left_behind: HashSet<LogId> = HashSet::new();
        let (mut bytes, mut wake) = (0_usize, None::<Instant>);
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        while let Some(member) = self.waiting.pop_front() {
            if member.reply.is_closed() {
                // Its caller has gone, and nothing was sent.
                continue;
            }
            let is_full = members.len() >= self.max_batch
                || bytes.saturating_add(member.bytes) > BATCH_BYTES && !members.is_empty()
                || members
                    .first()
                    .is_some_and(|first| first.alone || member.alone);
            let log = &member.append.log;
            let is_blocked = self.travelling.contains(log) || left_behind.contains(log);
            let is_early = member.not_before.is_some_and(|not_before| not_before > now);
            if is_full || is_blocked || is_early {
                if is_early && !is_blocked {
                    wake = match (wake, member.not_before) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                if !is_blocked {
                    left_behind.insert(log.clone());
                }
                kept.push_back(member);
                if members.len() >= self.max_batch {
                    break;
                }
                continue;
            }
            bytes = bytes.saturating_add(member.bytes);
            self.travelling.insert(log.clone());
            members.push(member);
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        (members, wake)
    }

    fn take_back(&mut self, done: Done) {
        self.lanes.push(done.lane);
        for log in &done.logs {
            self.travelling.remove(log);
        }
        // They came before all that wait.
        for member in done.again.into_iter().rev() {
            self.waiting.push_front(member);
        }
    }
}

/// Members that travel together.
struct Batch {
    database: Database,
    patience: Duration,
    members: Vec<Member>,
}

impl Batch {
    async fn send(mut self, lane: Lane) -> Done {
        // All batches take heads in this order, so none waits in a circle with another.
        self.members
            .sort_unstable_by(|one, other| one.append.log.cmp(&other.append.log));
        let logs = self
            .members
            .iter()
            .map(|member| member.append.log.clone())
            .collect();
        let (lane, again) = self.travel(lane).await;
        Done { lane, logs, again }
    }

    async fn travel(self, lane: Lane) -> (Lane, Vec<Member>) {
        let appends = self.members.iter().map(|member| &member.append);
        let statement = match append::statement(appends) {
            Ok(statement) => statement,
            Err(error) => return (lane, self.fail(&Failure::without_effect(error))),
        };
        let (connection, since) = match self.board(lane).await {
            Ok(boarded) => boarded,
            Err(failure) => return (Lane::default(), self.fail(&failure)),
        };
        let (connection, rows) = self
            .database
            .ask(connection, statement, Effect::Unknown)
            .await;
        let lane = Lane(connection.map(|connection| Kept {
            connection,
            since,
            used: Instant::now(),
        }));
        let outcomes = rows.and_then(|rows| {
            let row = one(rows)?;
            // Whatever it says, it was committed.
            let appends = self.members.iter().map(|member| &member.append);
            append::outcomes(&row, appends).map_err(Failure::of_write)
        });
        let again = match outcomes {
            Ok(outcomes) => self.succeed(outcomes),
            Err(failure) => self.fail(&failure),
        };
        (lane, again)
    }

    /// The lane's connection, if it is still good, or another.
    async fn board(&self, lane: Lane) -> Result<(PoolConnection<Postgres>, Instant), Failure> {
        if let Lane(Some(mut kept)) = lane {
            if kept.since.elapsed() > LANE_LIFETIME {
                drop(kept.connection);
            } else if kept.used.elapsed() < FRESH || is_alive(&mut kept.connection).await {
                return Ok((kept.connection, kept.since));
            } else {
                drop(kept.connection.detach());
            }
        }
        let connection = self.database.pool.acquire().await;
        connection
            .map(|connection| (connection, Instant::now()))
            .map_err(Failure::without_effect)
    }

    /// Tells everybody; returns those whose heads somebody else had.
    fn succeed(self, outcomes: Vec<Option<Outcome>>) -> Vec<Member> {
        let now = Instant::now();
        let mut again = Vec::new();
        for (mut member, outcome) in self.members.into_iter().zip(outcomes) {
            let reply = match outcome {
                Some(outcome) => Ok(outcome),
                None if now >= member.deadline => Err(Failure::of(Class::Locked)),
                None => {
                    let pause = FIRST_PAUSE * 2_u32.pow(member.pauses.min(5));
                    member.not_before = Some(now + pause.min(LONGEST_PAUSE));
                    member.pauses += 1;
                    again.push(member);
                    continue;
                }
            };
            // The caller may have gone; the outcome stands all the same.
            let _gone = member.reply.send(reply);
        }
        again
    }

    /// Tells everybody, or, where one may have failed the others, lets each travel alone.
    fn fail(self, failure: &Failure) -> Vec<Member> {
        let was_undone = failure.effect() == Effect::None;
        if self.members.len() > 1 && was_undone && failure.class.may_be_one_members_fault() {
            let alone = |mut member: Member| {
                member.alone = true;
                // Its time begins anew: it was not its log that was waited for.
                member.deadline = Instant::now() + self.patience;
                member
            };
            return self.members.into_iter().map(alone).collect();
        }
        for member in self.members {
            let _gone = member.reply.send(Err(failure.clone()));
        }
        Vec::new()
    }
}
