//! Appends on their way: whatever waits travels as one statement. An append lets tasks that can run now make theirs, and
//! waits for nothing else but, where it is one of few, for a batch to come back.

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
use crate::append::{self, KnownLogs, Learned, MAX_APPEND_BYTES, Outcome, Route};
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
/// How long a few appends wait at most for a batch to come back.
const HOLD: Duration = Duration::from_millis(2);
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
    arrived: Instant,
    reply: oneshot::Sender<Reply>,
    /// When it is told that its log is held by somebody else.
    deadline: Instant,
    /// Not before this, and how often it was put off.
    not_before: Option<Instant>,
    pauses: u32,
    /// Whether it may have been what failed a batch: then it travels alone.
    alone: bool,
    /// How its log is found; `None`: by its name.
    route: Option<Route>,
    /// Whether it was tried by number in vain.
    by_name: bool,
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
            known: KnownLogs::default(),
            batches: JoinSet::new(),
            closing: Vec::new(),
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
        let arrived = Instant::now();
        let member = Member {
            append,
            bytes,
            arrived,
            reply,
            deadline: arrived + self.patience,
            not_before: None,
            pauses: 0,
            alone: false,
            route: None,
            by_name: false,
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

/// What a batch leaves: its lane, what became of the logs that it was about, and the members that must travel again.
struct Done {
    lane: Lane,
    /// Whether the lane has another connection than before: the server may be another one, too.
    is_new: bool,
    logs: Vec<(LogId, Option<Learned>)>,
    again: Vec<Member>,
}

/// What became of the members, and the numbers of their logs where those were asked for.
type Outcomes = (Vec<Option<Outcome>>, Vec<Option<i64>>);
/// What is known of the logs, and the members that must travel again.
type Left = (Vec<(LogId, Option<Learned>)>, Vec<Member>);

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
    known: KnownLogs,
    batches: JoinSet<Done>,
    /// Who waits for the end.
    closing: Vec<oneshot::Sender<()>>,
}

impl Dispatcher {
    async fn run(mut self) {
        let mut arrived = Vec::new();
        let mut is_open = true;
        loop {
            if !self.waiting.is_empty() && !self.lanes.is_empty() {
                self.gather().await;
            }
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
                        self.known.clear();
                    }
                },
                count = self.messages.recv_many(&mut arrived, room), if is_open && room > 0 => {
                    is_open = count > 0;
                    for message in arrived.drain(..) {
                        self.take(message);
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
        // Lanes first: whoever waits for the end may wait for the connections, too.
        drop(self.lanes);
        for reply in self.closing {
            // Whoever asked may have gone.
            let _gone = reply.send(());
        }
    }

    /// Waits for its turn behind the tasks that can run now, and takes what they have sent. The outcomes of a batch let many
    /// appends be made at once; without this, the first of them would travel alone.
    async fn gather(&mut self) {
        tokio::task::yield_now().await;
        while self.waiting.len() < WAITING
            && let Ok(message) = self.messages.try_recv()
        {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Append(member) => self.waiting.push_back(*member),
            Message::Close(reply) => {
                self.closing.push(reply);
                self.messages.close();
            }
        }
    }

    /// Sends as many batches as there are lanes. Returns when a member that was put off may travel again.
    fn start_batches(&mut self) -> Option<Instant> {
        loop {
            if self.waiting.is_empty() || self.lanes.is_empty() {
                return None;
            }
            if let Some(until) = self.hold() {
                return Some(until);
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

    /// Until when the waiting appends are held back, because they are few beside those that travel: they leave with the ones
    /// that follow as soon as a batch comes back.
    fn hold(&self) -> Option<Instant> {
        let oldest = self.waiting.front()?;
        let until = oldest.arrived + HOLD;
        let are_few = self.waiting.len().saturating_mul(2) < self.travelling.len();
        (are_few && until > Instant::now()).then_some(until)
    }

    /// Takes what can travel together: at most one append of a log, none of a log that travels, none before its elders, and
    /// either all by name or all by number.
    fn next_batch(&mut self) -> (Vec<Member>, Option<Instant>) {
        let now = Instant::now();
        let mut members: Vec<Member> = Vec::new();
        let mut left_behind: HashSet<LogId> = HashSet::new();
        let (mut bytes, mut wake) = (0_usize, None::<Instant>);
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        while let Some(mut member) = self.waiting.pop_front() {
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
            if !is_full && !is_blocked && !is_early {
                let known = self.known.get(log).filter(|_known| !member.by_name);
                member.route = known.and_then(|known| known.route(&member.append));
            }
            let goes_elsewhere = members
                .first()
                .is_some_and(|first| first.route.is_some() != member.route.is_some());
            let log = &member.append.log;
            if is_full || is_blocked || is_early || goes_elsewhere {
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
        if done.is_new {
            self.known.clear();
        }
        for (log, learned) in done.logs {
            self.travelling.remove(&log);
            self.known.learn(log, learned);
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
        let (connection, since, is_new) = match self.board(lane).await {
            Ok(boarded) => boarded,
            Err(failure) => {
                let (logs, again) = self.fail(&failure);
                return Done {
                    lane: Lane::default(),
                    is_new: true,
                    logs,
                    again,
                };
            }
        };
        if is_new {
            // What is known may be of another server.
            for member in &mut self.members {
                member.route = None;
            }
        }
        let (connection, outcomes) = self.travel(connection).await;
        let (logs, again) = match outcomes {
            Ok(outcomes) => self.succeed(outcomes),
            Err(failure) => self.fail(&failure),
        };
        let kept = connection.map(|connection| Kept {
            connection,
            since,
            used: Instant::now(),
        });
        Done {
            is_new: is_new || kept.is_none(),
            lane: Lane(kept),
            logs,
            again,
        }
    }

    /// What became of each member, and the connection if it is still good.
    async fn travel(
        &self,
        connection: PoolConnection<Postgres>,
    ) -> (Option<PoolConnection<Postgres>>, Result<Outcomes, Failure>) {
        let appends = self.members.iter().map(|member| &member.append);
        let routes: Option<Vec<Route>> = self.members.iter().map(|member| member.route).collect();
        let statement = match &routes {
            Some(routes) => append::by_number(appends.clone().zip(routes.iter().copied())),
            None => append::by_name(appends.clone()),
        };
        let statement = match statement {
            Ok(statement) => statement,
            Err(error) => return (Some(connection), Err(Failure::without_effect(error))),
        };
        let (connection, rows) = self
            .database
            .ask(connection, statement, Effect::Unknown)
            .await;
        let outcomes = rows.and_then(|rows| {
            let row = one(rows)?;
            // Whatever it says, it was committed.
            let outcomes = match routes {
                Some(_) => {
                    append::outcomes_by_number(&row, appends).map(|outcomes| (outcomes, Vec::new()))
                }
                None => append::outcomes_by_name(&row, appends),
            };
            outcomes.map_err(Failure::of_write)
        });
        (connection, outcomes)
    }

    /// The lane's connection, if it is still good, or another; since when it is the lane's, and whether it is another.
    async fn board(
        &self,
        lane: Lane,
    ) -> Result<(PoolConnection<Postgres>, Instant, bool), Failure> {
        if let Lane(Some(mut kept)) = lane {
            if kept.since.elapsed() > LANE_LIFETIME {
                drop(kept.connection);
            } else if kept.used.elapsed() < FRESH || is_alive(&mut kept.connection).await {
                return Ok((kept.connection, kept.since, false));
            } else {
                drop(kept.connection.detach());
            }
        }
        let connection = self.database.pool.acquire().await;
        connection
            .map(|connection| (connection, Instant::now(), true))
            .map_err(Failure::without_effect)
    }

    /// Tells everybody; returns what is known of the logs now, and those whose heads somebody else had or has moved.
    fn succeed(self, (outcomes, numbers): Outcomes) -> Left {
        let now = Instant::now();
        let mut numbers = numbers.into_iter();
        let (mut logs, mut again) = (Vec::with_capacity(self.members.len()), Vec::new());
        for (mut member, outcome) in self.members.into_iter().zip(outcomes) {
            let number = numbers.next().flatten();
            let log = member.append.log.clone();
            let reply = match outcome {
                Some(Ok(appended)) => {
                    let learned = Learned::of(&mut member.append, member.route, number);
                    logs.push((log, learned));
                    let _gone = member.reply.send(Ok(Ok(appended)));
                    continue;
                }
                Some(Err(refusal)) => Ok(Err(refusal)),
                None if member.route.is_some() => {
                    member.route = None;
                    member.by_name = true;
                    logs.push((log, None));
                    again.push(member);
                    continue;
                }
                None if now >= member.deadline => Err(Failure::of(Class::Locked)),
                None => {
                    let pause = FIRST_PAUSE * 2_u32.pow(member.pauses.min(5));
                    member.not_before = Some(now + pause.min(LONGEST_PAUSE));
                    member.pauses += 1;
                    logs.push((log, None));
                    again.push(member);
                    continue;
                }
            };
            logs.push((log, None));
            // The caller may have gone; the outcome stands all the same.
            let _gone = member.reply.send(reply);
        }
        (logs, again)
    }

    /// Tells everybody, or, where one may have failed the others, lets each travel alone.
    fn fail(self, failure: &Failure) -> Left {
        let logs = self.members.iter();
        let logs = logs
            .map(|member| (member.append.log.clone(), None))
            .collect();
        let was_undone = failure.effect() == Effect::None;
        if self.members.len() > 1 && was_undone && failure.class.may_be_one_members_fault() {
            let alone = |mut member: Member| {
                member.alone = true;
                // Its time begins anew: it was not its log that was waited for.
                member.deadline = Instant::now() + self.patience;
                member
            };
            return (logs, self.members.into_iter().map(alone).collect());
        }
        for member in self.members {
            let _gone = member.reply.send(Err(failure.clone()));
        }
        (logs, Vec::new())
    }
}
