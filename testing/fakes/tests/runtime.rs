//! A runtime that delivers by hand, and faults in front of it.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use seaworthy_fakes::{
    FakeClock, FakeRuntime, Fault, Faults, FaultyClock, FaultyRuntime, Notifications,
};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, Next, ScheduleState, Signal, Signalled, Submit, Submitted, Then,
    Turn,
};
use seaworthy_ports::{Effect, Latch, QueueName, RunId, SignalId, WorkerId, async_trait};

fn run() -> RunId {
    RunId::new("run").unwrap()
}

fn submit() -> Submit {
    Submit {
        run: run(),
        session: None,
        queue: QueueName::new("default").unwrap(),
        not_before: None,
    }
}

fn signal(id: &str) -> Signal {
    Signal {
        id: SignalId::new(id).unwrap(),
        payload: bytes::Bytes::new(),
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn submitted(runtime: &FakeRuntime) {
    assert_eq!(now(runtime.submit(submit())).unwrap(), Submitted::New);
}

/// Ends every turn the same way, and keeps what the turn had.
struct Ends {
    then: Then,
    turns: Mutex<Vec<Vec<SignalId>>>,
}

impl Ends {
    fn new(then: Then) -> Self {
        Self {
            then,
            turns: Mutex::default(),
        }
    }
}

#[async_trait]
impl Advance for Ends {
    async fn advance(&self, turn: Turn) -> Next {
        let ids = turn.signals.into_iter().map(|signal| signal.id);
        self.turns.lock().unwrap().push(ids.collect());
        Next {
            consumed: Vec::new(),
            then: self.then.clone(),
        }
    }
}

/// Waits for one letter, or for the end of the mail, or for ever.
#[derive(Default)]
struct Reads {
    letters: Mutex<Vec<Option<SignalId>>>,
    revoked: Mutex<Option<Latch>>,
}

#[async_trait]
impl Advance for Reads {
    async fn advance(&self, mut turn: Turn) -> Next {
        *self.revoked.lock().unwrap() = Some(turn.revoked.clone());
        let letter = turn.mail.next().await.map(|signal| signal.id);
        self.letters.lock().unwrap().push(letter);
        Next {
            consumed: Vec::new(),
            then: Then::Done,
        }
    }
}

const PARK: Then = Then::Park { wake_at: None };

#[test]
fn prompt_mail_brings_what_arrives_in_the_turn_and_lost_mail_ends() {
    for (notifications, brings) in [(Notifications::Prompt, true), (Notifications::Lost, false)] {
        let runtime = FakeRuntime::default().with_notifications(notifications);
        submitted(&runtime);
        let reads = Reads::default();
        let run = run();
        let mut turn = Box::pin(runtime.deliver(&run, &reads));
        assert_eq!((&mut turn).now_or_never().is_none(), brings);
        let sent = now(runtime.signal(&run, signal("a"))).unwrap();
        if brings {
            assert_eq!(sent, Signalled::Accepted);
            now(turn);
        }
        let letter = brings.then(|| signal("a").id);
        assert_eq!(*reads.letters.lock().unwrap(), [letter]);
    }
}

#[test]
fn repeated_notifications_deliver_a_parked_run_once_more_without_a_cause() {
    let runtime = FakeRuntime::default().with_notifications(Notifications::Repeated);
    submitted(&runtime);
    for is_due in [true, false] {
        now(runtime.deliver(&run(), &Ends::new(PARK)));
        assert_eq!(runtime.due().len(), usize::from(is_due));
    }
}

#[test]
fn signals_that_were_not_consumed_are_delivered_again_in_order() {
    let runtime = FakeRuntime::default();
    submitted(&runtime);
    for id in ["b", "a"] {
        now(runtime.signal(&run(), signal(id))).unwrap();
    }
    let again = now(runtime.signal(&run(), signal("a"))).unwrap();
    assert_eq!(again, Signalled::Duplicate);
    let ends = Ends::new(PARK);
    for _turn in 0..2 {
        now(runtime.deliver(&run(), &ends));
    }
    let waiting = vec![signal("b").id, signal("a").id];
    assert_eq!(*ends.turns.lock().unwrap(), [waiting.clone(), waiting]);
}

#[test]
fn what_a_turn_says_that_was_taken_over_changes_nothing() {
    for is_told in [true, false] {
        let runtime = FakeRuntime::default();
        submitted(&runtime);
        let (worker, reads) = (WorkerId::new("first").unwrap(), Reads::default());
        let run = run();
        let mut turn = Box::pin(runtime.deliver_to(&worker, &run, &reads));
        assert!((&mut turn).now_or_never().is_none());
        let known = now(runtime.describe(&run)).unwrap().unwrap();
        assert!(
            matches!(known.state, ScheduleState::Leased { worker: holder, .. } if holder == worker)
        );
        assert_eq!(runtime.due(), []);
        runtime.take_over(&worker, is_told);
        assert_eq!(runtime.due(), vec![run.clone()]);
        let revoked = reads.revoked.lock().unwrap().clone().unwrap();
        assert_eq!(revoked.is_set(), is_told);
        now(runtime.signal(&run, signal("wakes_the_mail"))).unwrap();
        assert_eq!(now(turn), None, "it said that the run is done");
        assert_eq!(runtime.unfinished(), vec![run.clone()]);
    }
}

#[test]
fn a_parked_run_is_due_at_its_time_and_not_before() {
    let clock = FakeClock::new();
    let runtime = FakeRuntime::default().on_clock(clock.clone());
    submitted(&runtime);
    let hour = Duration::from_secs(3600);
    let wake_at = Some(clock.now().plus(hour));
    now(runtime.deliver(&run(), &Ends::new(Then::Park { wake_at })));
    clock.advance(hour - Duration::from_millis(1));
    assert_eq!(runtime.due(), []);
    clock.advance(Duration::from_millis(1));
    assert_eq!(runtime.due(), [run()]);
}

#[test]
fn a_fault_is_what_happens_at_its_call() {
    let tried = |fault| {
        let runtime = FakeRuntime::default();
        let faults = Faults::at([(0, fault)]);
        let faulty = FaultyRuntime::new(Arc::new(runtime.clone()), faults.clone());
        let answer = faulty.submit(submit()).now_or_never();
        let happened = !runtime.unfinished().is_empty();
        let answer = answer.map(|answer| answer.map_err(|error| (error.kind(), error.effect())));
        (answer, happened, faults.dead().is_set())
    };
    let failed = |effect| Some(Err((Kind::Unavailable, effect)));
    assert_eq!(
        tried(Fault::FailBefore),
        (failed(Effect::None), false, false)
    );
    assert_eq!(
        tried(Fault::FailAfter),
        (failed(Effect::Unknown), true, false)
    );
    let repeated = Some(Ok(Submitted::Existing));
    assert_eq!(tried(Fault::Duplicate), (repeated, true, false));
    assert_eq!(tried(Fault::CrashBefore), (None, false, true));
    assert_eq!(tried(Fault::CrashAfter), (None, true, true));
    assert_eq!(tried(Fault::Pause), (None, false, false));
}

#[test]
fn a_delayed_call_happens_at_its_time_on_the_clock() {
    let clock = FakeClock::new();
    let runtime = FakeRuntime::default();
    let faults = Faults::at([(0, Fault::Delay(Duration::from_secs(3)))]);
    let faults = faults.on_clock(Arc::new(clock.clone()));
    let faulty = FaultyRuntime::new(Arc::new(runtime.clone()), faults);
    let mut call = faulty.submit(submit());
    assert!((&mut call).now_or_never().is_none());
    assert!(runtime.unfinished().is_empty());
    let due = clock.now().plus(Duration::from_secs(3));
    assert_eq!(clock.next_wake(), Some(due));
    assert!(clock.advance_to_next_wake());
    assert_eq!(now(&mut call).unwrap(), Submitted::New);
    assert!(!clock.advance_to_next_wake(), "nobody sleeps any more");
}

#[test]
fn interleaved_calls_give_way_before_and_after_they_happen() {
    let runtime = FakeRuntime::default();
    let faulty = FaultyRuntime::new(Arc::new(runtime.clone()), Faults::none().interleaved());
    let mut call = faulty.submit(submit());
    assert!((&mut call).now_or_never().is_none());
    assert!(runtime.unfinished().is_empty(), "it gives way before");
    assert!((&mut call).now_or_never().is_none());
    assert!(!runtime.unfinished().is_empty(), "it gives way after");
    assert!((&mut call).now_or_never().is_some());
}

#[test]
fn a_paused_process_does_nothing_until_it_is_resumed_and_a_dead_one_never() {
    let runtime = FakeRuntime::default();
    let faults = Faults::at([(0, Fault::Pause), (2, Fault::CrashBefore)]);
    let faulty = FaultyRuntime::new(Arc::new(runtime.clone()), faults.clone());
    let clock = FaultyClock::new(Arc::new(FakeClock::jumping()), faults.clone());
    let run = run();
    let mut paused = faulty.submit(submit());
    assert!((&mut paused).now_or_never().is_none());
    assert!(faults.paused().is_set());
    let mut other = faulty.describe(&run);
    assert!(
        (&mut other).now_or_never().is_none(),
        "the others stand still, too"
    );
    assert!(clock.sleep_until(clock.now()).now_or_never().is_none());
    faults.resume();
    assert_eq!(now(paused).unwrap(), Submitted::New);
    assert!(now(other).is_ok());
    assert!(faulty.forget(&run).now_or_never().is_none());
    assert!(faulty.describe(&run).now_or_never().is_none());
    assert!(clock.sleep_until(clock.now()).now_or_never().is_none());
    assert_eq!(runtime.unfinished(), [run]);
}
