//! Clocks, and a database whose time a test moves.

use std::sync::{Arc, RwLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp, async_trait};
use sqlx::PgConnection;
use tokio::sync::oneshot;

use super::{raw, sql};

const INFO: AdapterInfo = AdapterInfo {
    id: "test",
    package: "test",
    version: "0",
};

/// The time of this machine.
#[derive(Debug)]
pub(crate) struct RealClock;

#[async_trait]
impl Clock for RealClock {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn now(&self) -> Timestamp {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        Timestamp::from_millis(i64::try_from(now.as_millis()).expect("not so late"))
    }

    async fn sleep_until(&self, until: Timestamp) {
        while self.now() < until {
            tokio::time::sleep(until.since(self.now()).max(Duration::from_millis(1))).await;
        }
    }
}

/// A clock that is off by so many milliseconds.
#[derive(Debug)]
pub(crate) struct Off<C> {
    pub(crate) clock: C,
    pub(crate) by: i64,
}

#[async_trait]
impl<C: Clock> Clock for Off<C> {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis() + self.by)
    }

    async fn sleep_until(&self, until: Timestamp) {
        let until = Timestamp::from_millis(until.as_millis() - self.by);
        self.clock.sleep_until(until).await;
    }
}

/// The clock of a process whose database's time stands still and is moved by the test. Nobody reads it while the two are
/// moved, so they never differ.
#[derive(Clone, Debug)]
pub(crate) struct Still {
    clock: FakeClock,
    gate: Arc<RwLock<()>>,
}

#[async_trait]
impl Clock for Still {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn now(&self) -> Timestamp {
        let _not_while_it_moves = self.gate.read().expect("no panic");
        self.clock.now()
    }

    async fn sleep_until(&self, until: Timestamp) {
        self.clock.sleep_until(until).await;
    }
}

/// Moves the database's time and the clock's, on a thread of its own: others may stand still, waiting for the clock.
pub(crate) struct Mover {
    pub(crate) clock: Still,
    moves: mpsc::Sender<(Duration, oneshot::Sender<()>)>,
}

impl Mover {
    /// Takes over the time of the schema.
    pub(crate) async fn start(url: String, schema: String) -> Self {
        let clock = Still {
            clock: FakeClock::new(),
            gate: Arc::default(),
        };
        let mut connection = raw(&url, &schema).await;
        let now = clock.now().as_millis();
        sql(
            &mut connection,
            format!(
                "SET synchronous_commit = off;
                CREATE TABLE test_clock (now bigint);
                INSERT INTO test_clock VALUES ({now});
                CREATE OR REPLACE FUNCTION seaworthy_now() RETURNS bigint LANGUAGE sql VOLATILE AS
                $$ SELECT now FROM test_clock $$"
            ),
        )
        .await;
        let (moves, wanted) = mpsc::channel::<(Duration, oneshot::Sender<()>)>();
        let moved = clock.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let mut connection = raw(&url, &schema).await;
                sql(&mut connection, "SET synchronous_commit = off").await;
                while let Ok((by, done)) = wanted.recv() {
                    moved.advance(&mut connection, by).await;
                    let _nobody_waits = done.send(());
                }
            });
        });
        Self { clock, moves }
    }

    pub(crate) async fn advance(&self, by: Duration) {
        let (done, is_done) = oneshot::channel();
        self.moves
            .send((by, done))
            .expect("a thread that moves time");
        is_done.await.expect("a thread that moves time");
    }
}

impl Still {
    #[expect(
        clippy::await_holding_lock,
        reason = "that is what it is for; the thread has one task"
    )]
    async fn advance(&self, connection: &mut PgConnection, by: Duration) {
        let _nobody_reads = self.gate.write().expect("no panic");
        sql(
            connection,
            format!("UPDATE test_clock SET now = now + {}", by.as_millis()),
        )
        .await;
        self.clock.advance(by);
    }
}

/// Gives the schema back the time of its server.
pub(crate) async fn let_go(connection: &mut PgConnection) {
    sql(
        connection,
        "CREATE OR REPLACE FUNCTION seaworthy_now() RETURNS bigint LANGUAGE sql VOLATILE AS
        $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$",
    )
    .await;
}
