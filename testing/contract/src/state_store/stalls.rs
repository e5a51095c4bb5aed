//! SS-3, SS-8 and SS-16: calls that stand still half way, are given up, or lose their reply.
//!
//! A call is a future, and whoever made it need not go on: it is looked at a number of times and then left alone, wherever
//! it is by then.

use std::sync::Arc;

use bytes::Bytes;
use seaworthy_ports::Effect;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Seq, StateStore, StateStoreError,
};

use super::faults::{Fault, Faulty};
use super::leaning::{LeansOn, leaning};
use super::{Harness, append, by_another, head, log, texts, written};
use crate::chance::seed;
use crate::outcome::{
    Halt, Outcome, at_once, broken, holds, ok, patience, polled, refused, same, within,
};

/// At how many points of a call it is left alone.
const POINTS: u32 = 5;
/// What [`Harness::without_room`] has no room for.
const NO_ROOM_FOR: usize = 4 * 1024 * 1024;

fn told(outcome: &Result<Appended, StateStoreError>) -> Result<Appended, Kind> {
    match outcome {
        Ok(appended) => Ok(*appended),
        Err(error) => Err(error.kind()),
    }
}

/// SS-3.
pub async fn an_append_that_stalls_while_another_takes_over_has_no_effect<H: Harness>(
    harness: H,
) -> Outcome {
    let outcome = one_of_two_has_an_effect(&harness).await;
    leaning(outcome, &harness.store(), &[LeansOn::Heads]).await
}

async fn one_of_two_has_an_effect<H: Harness>(harness: &H) -> Outcome {
    let store = harness.store();
    let other = harness
        .second_handle()
        .await
        .unwrap_or_else(|| Arc::clone(&store));
    for point in 1..=POINTS {
        let log = log(&format!("a{point}"))?;
        written(&*store, append(&log, 0, &["first"])?).await?;
        let stalls = by_another(&append(&log, 1, &["stalled"])?, "stalled")?;
        let takes = by_another(&append(&log, 1, &["taken"])?, "taken")?;
        let stalled = polled(store.append(stalls), point).await;
        let mut taking = {
            let other = Arc::clone(&other);
            tokio::spawn(async move { other.append(takes).await })
        };
        // It may have to wait for a lock that the stalled one holds; then it gets it afterwards.
        let taken = tokio::time::timeout(patience() / 100, &mut taking).await;
        let stalled = match stalled {
            Ok(ended) => ended,
            Err(stalled) => within("let a stalled append go on", stalled).await?,
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(_late) => within("waited for an append beside a stalled one", taking).await?,
        };
        let taken = taken.map_err(|error| broken("appended", "no panic", error))?;
        let did = format!("stalled an append after {point} looks, let another take over, went on");
        let (stalled, taken) = (told(&stalled), told(&taken));
        let won = Ok(Appended { head: Seq(2) });
        // That a conflict tells the true head is SS-2.
        let is_lost = |told: &Result<Appended, Kind>| matches!(told, Err(Kind::Conflict { .. }));
        let winner = match (
            stalled == won && is_lost(&taken),
            is_lost(&stalled) && taken == won,
        ) {
            (true, _) => "stalled",
            (_, true) => "taken",
            _ => {
                return Err(broken(
                    did,
                    "one that succeeds and one that conflicts",
                    (stalled, taken),
                ));
            }
        };
        same(
            did,
            texts(&*store, &log).await?,
            vec!["first".to_owned(), winner.to_owned()],
        )?;
    }
    Ok(())
}

/// SS-8.
pub async fn a_stalled_append_delays_nobody_on_another_log<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    for point in 1..=POINTS {
        let stalls = log(&format!("stalls{point}"))?;
        written(&*store, append(&stalls, 0, &["first"])?).await?;
        let stalled = polled(store.append(append(&stalls, 1, &["stalled"])?), point).await;
        for number in 0..4 {
            let beside = append(&log(&format!("beside{point}.{number}"))?, 0, &["x"])?;
            let appended = within(
                &format!(
                    "appended to another log beside an append that stalled after {point} looks"
                ),
                store.append(beside),
            )
            .await?;
            ok("appended beside a stalled append", appended)?;
        }
        let stalled = match stalled {
            Ok(ended) => ended,
            Err(stalled) => within("let a stalled append go on", stalled).await?,
        };
        ok("let a stalled append go on", stalled)?;
    }
    Ok(())
}

/// SS-16. Where the harness has no reply to lose, the suite loses it between the store and its caller.
pub async fn a_lost_reply_is_resolved_by_repeating_the_append<H: Harness>(harness: H) -> Outcome {
    let outcome = lost_reply_is_resolved(&harness).await;
    leaning(outcome, &harness.store(), &[LeansOn::Ids]).await
}

async fn lost_reply_is_resolved<H: Harness>(harness: &H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(&*store, append(&log, 0, &["a"])?).await?;
    let lossy: Arc<dyn StateStore> = if harness.lose_next_reply().await {
        Arc::clone(&store)
    } else {
        Arc::new(Faulty::once(Arc::clone(&store), Fault::LosesReply))
    };
    let lost = append(&log, 1, &["b"])?;
    let effect = lossy
        .append(lost.clone())
        .await
        .map_err(|error| error.effect());
    same("lost the reply of an append", effect, Err(Effect::Unknown))?;
    is_resolved(&*lossy, lost.clone()).await?;
    drop((store, lossy));
    match harness.reopen().await {
        Some(store) if texts(&*store, &log).await?.is_empty() => {
            Err(Halt::NotCheckable("mend SS-9 first: nothing survives"))
        }
        Some(store) => is_resolved(&*store, lost).await,
        None => Ok(()),
    }
}

/// The append, of `b` after `a`, is repeated by somebody who does not know whether it took effect.
async fn is_resolved(store: &dyn StateStore, lost: Append) -> Outcome {
    let log = lost.log.clone();
    let appended = ok("repeated it", store.append(lost).await)?;
    same("repeated it", appended, Appended { head: Seq(2) })?;
    same(
        "read all",
        texts(store, &log).await?,
        vec!["a".into(), "b".into()],
    )
}

/// SS-16.
pub async fn an_append_that_was_given_up_is_resolved_by_repeating_it<H: Harness>(
    harness: H,
) -> Outcome {
    let outcome = given_up_is_resolved(&*harness.store()).await;
    leaning(outcome, &harness.store(), &[LeansOn::Ids]).await
}

async fn given_up_is_resolved(store: &dyn StateStore) -> Outcome {
    for point in 0..=POINTS {
        let log = log(&format!("a{point}"))?;
        written(store, append(&log, 0, &["a"])?).await?;
        let given_up = append(&log, 1, &["b"])?;
        drop(polled(store.append(given_up.clone()), point).await);
        is_resolved(store, given_up).await?;
    }
    Ok(())
}

/// SS-16. Appends fail, lose their replies, are given up, come late and come twice; each client repeats what it was not
/// told of.
pub async fn clients_that_repeat_after_faults_write_every_record_once<H: Harness>(
    harness: H,
) -> Outcome {
    let outcome = repeated_after_faults(&harness.store()).await;
    leaning(outcome, &harness.store(), &[LeansOn::Ids, LeansOn::Winners]).await
}

async fn repeated_after_faults(store: &Arc<dyn StateStore>) -> Outcome {
    const CLIENTS: u64 = 8;
    const APPENDS: u64 = 40;
    let clients = (0..CLIENTS).map(|client| {
        let faulty = Faulty::by_chance(Arc::clone(store), seed() ^ (client << 16));
        async move {
            let log = log(&format!("client{client}"))?;
            for at in 0..APPENDS {
                repeated_until_told(&faulty, append(&log, at, &[&at.to_string()])?).await?;
            }
            same(
                format!(
                    "with the seed {}, read what a client wrote through faults",
                    seed()
                ),
                texts(&faulty, &log).await?,
                (0..APPENDS).map(|at| at.to_string()).collect(),
            )
        }
    });
    at_once(clients).await?.into_iter().collect()
}

async fn repeated_until_told(store: &dyn StateStore, append: Append) -> Result<Appended, Halt> {
    const TRIES: u32 = 200;
    for _try in 0..TRIES {
        match store.append(append.clone()).await {
            Err(error) if error.kind() == Kind::Unavailable => {}
            told => return ok("repeated an append after a fault", told),
        }
    }
    Err(broken(
        "repeated an append after faults",
        "an answer",
        format!("{TRIES} failures"),
    ))
}

/// SS-8. Some logs are known to the store by now, and some of the appends expect a head that was there before.
pub async fn appends_that_conflict_fail_alone_among_logs_that_grow<H: Harness>(
    harness: H,
) -> Outcome {
    let outcome = conflicts_fail_alone(&harness).await;
    leaning(outcome, &harness.store(), &[LeansOn::Heads]).await
}

async fn conflicts_fail_alone<H: Harness>(harness: &H) -> Outcome {
    const LOGS: u64 = 16;
    let store = harness.store();
    for number in 0..LOGS {
        written(&*store, append(&log(&format!("log{number}"))?, 0, &["0"])?).await?;
    }
    for round in 1..=8_u64 {
        let mut calls = Vec::new();
        for number in 0..LOGS {
            let log = log(&format!("log{number}"))?;
            let good = append(&log, round, &[&round.to_string()])?;
            let bad = Append {
                expected: if number % 2 == 0 {
                    Expected::Head(Seq(round + 1_000))
                } else {
                    Expected::Absent
                },
                ..by_another(&append(&log, round, &["bad"])?, "bad")?
            };
            for (append, is_good) in [(bad, false), (good, true)] {
                let store = Arc::clone(&store);
                calls.push(async move {
                    let seen = store.append(append).await.map_err(|error| error.kind());
                    let is_right = match seen {
                        Ok(appended) => is_good && appended.head == Seq(round + 1),
                        Err(kind) => !is_good && matches!(kind, Kind::Conflict { .. }),
                    };
                    let expected = if is_good { "success" } else { "a conflict" };
                    holds(
                        is_right,
                        "appended beside appends that conflict",
                        expected,
                        seen,
                    )
                });
            }
        }
        at_once(calls).await?.into_iter().collect::<Outcome>()?;
    }
    for number in 0..LOGS {
        same(
            "read a log beside which appends conflicted",
            texts(&*store, &log(&format!("log{number}"))?).await?,
            (0..=8).map(|round| round.to_string()).collect(),
        )?;
    }
    Ok(())
}

/// SS-8.
pub async fn an_append_without_room_fails_alone<H: Harness>(harness: H) -> Outcome {
    let store = without_room(&harness).await?;
    for round in 0..6_u64 {
        let mut calls = Vec::new();
        for number in 0..20 {
            let log = log(&format!("log{number}"))?;
            let is_large = number == 10;
            let small = append(&log, round, &[&round.to_string()])?;
            let append = if is_large {
                Append {
                    bodies: vec![large(&*store)],
                    ..append(&self::log("large")?, 0, &[])?
                }
            } else {
                small
            };
            let store = Arc::clone(&store);
            calls.push(async move {
                let seen = store.append(append).await.map_err(|error| error.kind());
                if is_large {
                    same("appended what has no room", seen, Err(Kind::Unavailable))
                } else {
                    let expected = Ok(Appended {
                        head: Seq(round + 1),
                    });
                    same("appended beside an append without room", seen, expected)
                }
            });
        }
        at_once(calls).await?.into_iter().collect::<Outcome>()?;
    }
    Ok(())
}

/// SS-1.
pub async fn an_append_without_room_writes_nothing_and_works_again_when_there_is<H: Harness>(
    harness: H,
) -> Outcome {
    let (with_room, log) = (harness.store(), log("a")?);
    written(&*with_room, append(&log, 0, &["a"])?).await?;
    let store = without_room(&harness).await?;
    let before = head(&*store, &log).await?;
    let too_much = Append {
        bodies: vec![Bytes::from_static(b"b"), large(&*store)],
        seal: true,
        ..append(&log, 1, &[])?
    };
    for _time in 0..2 {
        let refused_with = store.append(too_much.clone()).await;
        let effect = refused_with.as_ref().map_err(StateStoreError::effect).err();
        refused(
            "appended what has no room",
            refused_with.map(|_appended| ()),
            Kind::Unavailable,
        )?;
        // An unknown effect may show; what is known to be none may not.
        if effect == Some(Effect::None) {
            same(
                "read what an append without room left",
                texts(&*store, &log).await?,
                vec!["a".to_owned()],
            )?;
            same(
                "asked for the head it left",
                head(&*store, &log).await?,
                before.clone(),
            )?;
        }
    }
    written(&*store, append(&self::log("small")?, 0, &["fits"])?).await?;
    let appended = ok(
        "repeated it where there is room",
        with_room.append(too_much).await,
    )?;
    same(
        "repeated it where there is room",
        appended,
        Appended { head: Seq(3) },
    )
}

async fn without_room<H: Harness>(harness: &H) -> Result<Arc<dyn StateStore>, Halt> {
    harness
        .without_room()
        .await
        .ok_or(Halt::NotCheckable("its room has no limit that can be set"))
}

/// As large as an append may be, and larger than what there is room for.
fn large(store: &dyn StateStore) -> Bytes {
    let most = store.capabilities().max_append_bytes;
    Bytes::from(vec![7; most.saturating_sub(1).min(NO_ROOM_FOR)])
}
