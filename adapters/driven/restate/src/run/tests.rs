use bytes::Bytes;

use super::*;

const TTL: u64 = 1_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id() -> RunId {
    RunId::new("r").unwrap()
}

fn worker() -> WorkerId {
    WorkerId::new("w").unwrap()
}

fn signal(name: &str, size: usize) -> SendSignal {
    SendSignal {
        id: SignalId::new(name).unwrap(),
        payload: Payload(Bytes::from(vec![7; size])),
    }
}

fn new(not_before: Option<i64>) -> (Run, Effects) {
    let submit = SubmitRun {
        queue: QueueName::new("q").unwrap(),
        session: None,
        not_before: not_before.map(at),
    };
    Run::new(submit, &id(), at(0))
}

fn offered(effects: &Effects) -> Option<&DueRun> {
    effects.report.as_ref()?.due.as_ref()
}

fn ended(effects: &Effects) -> Option<u64> {
    effects.report.as_ref()?.ended
}

fn begin(run: &mut Run, fence: u64, now: i64) -> (bool, Effects) {
    let start = StartTurn {
        fence,
        epoch: run.epoch,
        worker: worker(),
        ttl: TTL,
    };
    run.start(start, at(now))
}

/// A run in its first turn, since time 0.
fn leased() -> Run {
    let mut run = new(None).0;
    assert!(begin(&mut run, 1, 0).0);
    run
}

fn settle(run: &mut Run, fence: u64, seen: u64, end: End, now: i64) -> (bool, Effects) {
    run.settle(SettleTurn { fence, seen, end }, &id(), at(now))
}

fn park(wake_at: Option<i64>) -> End {
    End::Park {
        consumed: Vec::new(),
        wake_at: wake_at.map(at),
    }
}

#[test]
fn a_run_is_offered_when_it_is_due_and_not_before() {
    let (run, effects) = new(None);
    let offer = offered(&effects).unwrap();
    assert_eq!((offer.due, offer.epoch), (at(0), run.epoch));
    let (mut run, effects) = new(Some(50));
    assert_eq!(offered(&effects), None);
    let (epoch, after) = effects.wake.unwrap();
    assert_eq!(after, Duration::from_millis(50));
    // A timer whose clock is fast.
    let early = run.wake(epoch, &id(), at(49));
    assert_eq!(early.wake, Some((epoch, Duration::from_millis(1))));
    assert!(offered(&run.wake(epoch, &id(), at(50))).is_some());
}

#[test]
fn a_timer_or_grant_of_an_earlier_schedule_does_nothing() {
    let (mut run, effects) = new(Some(50));
    let (epoch, _after) = effects.wake.unwrap();
    assert_eq!(run.wake(epoch - 1, &id(), at(60)), Effects::default());
    let start = StartTurn {
        fence: 4,
        epoch: epoch - 1,
        worker: worker(),
        ttl: TTL,
    };
    let (may, effects) = run.start(start, at(60));
    assert_eq!((may, ended(&effects)), (false, Some(4)));
    assert_eq!(run.deliveries, 0);
}

#[test]
fn a_turn_that_was_begun_is_begun_again_by_the_same_worker_alone() {
    let mut run = leased();
    assert!(begin(&mut run, 1, 1).0);
    assert!(!begin(&mut run, 2, 1).0);
    let other = StartTurn {
        fence: 1,
        epoch: run.epoch,
        worker: WorkerId::new("other").unwrap(),
        ttl: TTL,
    };
    assert!(!run.start(other, at(1)).0);
    assert_eq!(run.deliveries, 1);
}

#[test]
fn a_lease_that_is_short_is_looked_at_when_it_ends() {
    let mut run = new(None).0;
    let epoch = run.epoch;
    let (_may, effects) = begin(&mut run, 1, 0);
    let (check, after) = effects.check.unwrap();
    assert_eq!((check.epoch, after), (epoch, Duration::from_millis(TTL)));
    let over = run.check(check, &id(), at(1_000));
    assert_eq!(ended(&over), Some(1));
    assert!(offered(&over).is_some());
}

#[test]
fn a_lease_is_renewed_while_it_lives_and_never_shortened() {
    let mut run = leased();
    let renew = |ttl| Renew { fence: 1, ttl };
    assert!(run.renew(renew(TTL), at(999)));
    assert!(run.renew(renew(1), at(1_000)));
    let is_held = matches!(run.state, Stands::Leased { expires, .. } if expires == at(1_999));
    assert!(is_held, "{:?}", run.state);
    assert!(!run.renew(Renew { fence: 2, ttl: TTL }, at(1_000)));
    assert!(!run.renew(renew(TTL), at(1_999)));
}

#[test]
fn a_lease_that_is_over_is_taken_and_its_end_counts_no_more() {
    let mut run = leased();
    let check = Check { fence: 1, epoch: 0 };
    let live = run.check(check, &id(), at(400));
    assert_eq!(live.check, Some((check, Duration::from_millis(600))));
    assert_eq!(live.report, None);
    let over = run.check(check, &id(), at(1_000));
    assert_eq!(ended(&over), Some(1));
    assert_eq!(offered(&over).unwrap().due, at(1_000));
    let late = settle(&mut run, 1, 0, End::Done { consumed: vec![] }, 1_001);
    assert_eq!(late, (false, Effects::default()));
    // Nor does it count before somebody has looked.
    let mut run = leased();
    assert!(!settle(&mut run, 1, 0, park(None), 1_000).0);
}

#[test]
fn what_was_granted_and_never_begun_is_offered_again() {
    let mut run = new(None).0;
    let check = Check {
        fence: 9,
        epoch: run.epoch,
    };
    let effects = run.check(check, &id(), at(5_000));
    assert_eq!(ended(&effects), Some(9));
    let offer = offered(&effects).unwrap();
    assert_eq!((offer.due, offer.epoch), (at(0), check.epoch + 1));
}

#[test]
fn a_grant_that_this_life_of_a_run_never_began_is_over() {
    let mut run = leased();
    let of = |fence, epoch| Check { fence, epoch };
    let epoch = run.epoch;
    assert_eq!(
        ended(&run.clone().check(of(2, epoch), &id(), at(1))),
        Some(2)
    );
    let mut later = run.clone();
    later.life = epoch + 1;
    assert_eq!(ended(&later.check(of(0, epoch), &id(), at(1))), Some(0));
    // One that has ended in order was reported then.
    assert!(settle(&mut run, 1, 0, park(None), 1).0);
    let past = run.check(of(1, epoch), &id(), at(1));
    assert_eq!(past, Effects::default());
}

#[test]
fn who_forgets_a_run_tells_what_it_held() {
    let report = leased().forgotten(&id(), at(1)).unwrap();
    assert_eq!((report.ended, report.forgotten), (Some(1), None));
    let waiting = new(None).0.forgotten(&id(), at(1)).unwrap();
    assert_eq!(waiting.ended, None);
    assert_eq!(waiting.forgotten.unwrap().due, at(0));
    let mut parked = leased();
    settle(&mut parked, 1, 0, park(None), 1);
    assert_eq!(parked.forgotten(&id(), at(2)), None);
}

#[test]
fn a_settlement_that_comes_twice_counts_once() {
    let mut run = leased();
    let done = || End::Done { consumed: vec![] };
    assert_eq!(ended(&settle(&mut run, 1, 0, done(), 1).1), Some(1));
    assert_eq!(
        settle(&mut run, 1, 0, done(), 2),
        (true, Effects::default())
    );
    assert!(run.is_finished());
    assert!(offered(&run.resubmit(&id(), at(3))).is_some());
    assert_eq!(run.resubmit(&id(), at(4)), Effects::default());
}

#[test]
fn a_signal_wakes_who_is_parked_and_rings_for_who_is_live() {
    let mut run = leased();
    let (sent, effects) = run.signal(signal("a", 1), &id(), at(1));
    assert_eq!((sent, effects.ring), (Sent::Accepted, Some(worker())));
    // It saw nothing of it, so it is due at once.
    let (_settled, effects) = settle(&mut run, 1, 0, park(None), 2);
    assert!(offered(&effects).is_some());
    assert!(begin(&mut run, 2, 2).0);
    let (_settled, effects) = settle(&mut run, 2, 1, park(None), 3);
    assert_eq!(offered(&effects), None);
    let (_sent, effects) = run.signal(signal("b", 1), &id(), at(4));
    assert_eq!(offered(&effects).unwrap().due, at(4));
}

#[test]
fn a_wake_in_the_past_is_now_and_one_that_was_overtaken_is_none() {
    let mut run = leased();
    let (_settled, effects) = settle(&mut run, 1, 0, park(Some(5)), 5);
    assert_eq!(offered(&effects).unwrap().due, at(5));
    let mut run = leased();
    let (_settled, effects) = settle(&mut run, 1, 0, park(Some(900)), 5);
    let (epoch, _after) = effects.wake.unwrap();
    run.signal(signal("a", 1), &id(), at(6));
    assert_eq!(run.wake(epoch, &id(), at(900)), Effects::default());
}

#[test]
fn large_payloads_have_keys_of_their_own_until_they_are_consumed() {
    let mut run = leased();
    run.signal(signal("small", 10), &id(), at(1));
    assert_eq!(run.letters().unwrap().len(), 1);
    let (_sent, effects) = run.signal(signal("large", INLINE + 1), &id(), at(1));
    assert_eq!(effects.store.map(|(position, _)| position), Some(2));
    assert_eq!(run.letters(), None);
    let consumed = vec![SignalId::new("large").unwrap()];
    let end = End::Park {
        consumed,
        wake_at: None,
    };
    let (_settled, effects) = settle(&mut run, 1, 2, end, 2);
    assert_eq!(effects.clear, [2]);
    assert_eq!(run.waiting.len(), 1);
}

#[test]
fn the_state_that_every_step_reads_stays_small() {
    let mut run = leased();
    for number in 0..200 {
        run.signal(signal(&format!("s{number}"), INLINE), &id(), at(1));
    }
    assert!(run.inline_bytes() <= INLINE_IN_ALL);
    assert_eq!(run.waiting.len(), 200);
}

#[test]
fn so_many_signals_may_wait_and_no_more() {
    let mut run = leased();
    for number in 0..MAX_WAITING_SIGNALS {
        let name = format!("s{number}");
        assert_eq!(
            run.signal(signal(&name, INLINE + 1), &id(), at(1)).0,
            Sent::Accepted
        );
    }
    assert_eq!(run.signal(signal("more", 1), &id(), at(1)).0, Sent::Full);
}

#[test]
fn failures_in_a_row_put_a_run_off_longer_each_time() {
    let mut run = leased();
    let mut waits = Vec::new();
    for fence in 1..4 {
        let Stands::Leased { .. } = run.state else {
            panic!("a turn");
        };
        let (_settled, effects) = settle(&mut run, fence, 0, End::Failed, 0);
        waits.push(effects.wake.unwrap().1);
        run.state = Stands::Due { due: at(0) };
        assert!(begin(&mut run, fence + 1, 0).0);
    }
    assert!(
        waits.is_sorted() && waits.first() < waits.last(),
        "{waits:?}"
    );
}

#[test]
fn a_run_of_an_earlier_life_has_another_epoch() {
    let submit = |now| {
        let submit = SubmitRun {
            queue: QueueName::new("q").unwrap(),
            session: None,
            not_before: None,
        };
        Run::new(submit, &id(), at(now)).0.epoch
    };
    assert!(submit(1_001) > submit(1_000) + 1_000);
}
