//! The suite of [`Clock`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;

use crate::Adapter;
use crate::outcome::{Outcome, at_once, holds, unless, within};

/// Makes a clock and lets its time pass.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// A clock.
    async fn start() -> Self;

    /// The clock.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Lets at least `by` pass on the clock: waits, or moves it.
    async fn advance(&self, by: Duration);
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    Adapter::new(harness.clock().info())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __clock_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "CL-1" the_time_never_goes_back
            "CL-1" the_time_passes
            "CL-2" a_sleep_never_ends_early
            "CL-2" a_sleep_until_the_past_ends_at_once
            "CL-3" a_hundred_sleepers_wake_each_in_its_time
            "CL-3" a_dropped_sleep_leaves_the_others_asleep_and_waking
        ] }
    };
}

crate::__clock_scenarios! { __runner clock }

/// Makes one test of each scenario of the `Clock` suite.
#[macro_export]
macro_rules! clock_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__clock_scenarios! { __tests ($) clock, $harness, $($excluded)? }
    };
}

const STEP: Duration = Duration::from_millis(20);

/// CL-1.
pub async fn the_time_never_goes_back<H: Harness>(harness: H) -> Outcome {
    let clock = harness.clock();
    let lookers = (0..8).map(|_looker| {
        let clock = Arc::clone(&clock);
        async move {
            let mut last = clock.now();
            for look in 0..5_000 {
                let now = clock.now();
                holds(
                    now >= last,
                    "looked at the clock again and again",
                    format!("at least {last}"),
                    now,
                )?;
                last = now;
                if look % 500 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        }
    });
    at_once(lookers).await?.into_iter().collect()
}

/// CL-1.
pub async fn the_time_passes<H: Harness>(harness: H) -> Outcome {
    let clock = harness.clock();
    let before = clock.now();
    harness.advance(STEP).await;
    let now = clock.now();
    holds(
        now >= before.plus(STEP),
        "let 20 milliseconds pass",
        format!("at least {}", before.plus(STEP)),
        now,
    )
}

/// CL-2.
pub async fn a_sleep_never_ends_early<H: Harness>(harness: H) -> Outcome {
    sleeps_alone(&harness).await
}

async fn sleeps_alone<H: Harness>(harness: &H) -> Outcome {
    let clock = harness.clock();
    for millis in [1, 2, 7, 20, 50] {
        let until = clock.now().plus(Duration::from_millis(millis));
        let mut sleep = clock.sleep_until(until);
        // Looked at from moment to moment: on a clock that is moved, an early end shows only before the next move.
        loop {
            let has_ended = (&mut sleep).now_or_never().is_some();
            let now = clock.now();
            if has_ended {
                holds(
                    now >= until,
                    format!("slept for {millis} milliseconds"),
                    format!("{until} at the earliest"),
                    now,
                )?;
                break;
            }
            if now >= until {
                within("slept", sleep).await?;
                break;
            }
            harness.advance(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

/// CL-2.
pub async fn a_sleep_until_the_past_ends_at_once<H: Harness>(harness: H) -> Outcome {
    let clock = harness.clock();
    let now = clock.now();
    let past = [
        now,
        Timestamp::from_millis(now.as_millis() - 1),
        Timestamp::from_millis(0),
        Timestamp::from_millis(i64::MIN),
    ];
    for until in past {
        let ended = clock.sleep_until(until).now_or_never();
        holds(
            ended.is_some(),
            format!("slept until {until}, it being {now}"),
            "an end at once",
            "a wait",
        )?;
    }
    Ok(())
}

/// CL-3.
pub async fn a_hundred_sleepers_wake_each_in_its_time<H: Harness>(harness: H) -> Outcome {
    let ends_early = async { Ok(sleeps_alone(&harness).await.is_err()) };
    unless(
        sleep_together(&harness).await,
        ends_early,
        "mend CL-2 first: a sleep ends early",
    )
    .await
}

async fn sleep_together<H: Harness>(harness: &H) -> Outcome {
    let clock = harness.clock();
    let start = clock.now();
    let sleepers = (0..100).map(|number: u64| {
        let clock = Arc::clone(&clock);
        // In no order.
        let until = start.plus(Duration::from_millis(number * 37 % 100));
        async move {
            within("slept", clock.sleep_until(until)).await?;
            let now = clock.now();
            holds(
                now >= until,
                "slept beside 99 others",
                format!("{until} at the earliest"),
                now,
            )
        }
    });
    let sleeping = tokio::spawn(at_once(sleepers.collect::<Vec<_>>()));
    // A sleeper far away keeps nobody from waking.
    let far = clock.sleep_until(start.plus(Duration::from_secs(1_000_000)));
    let far = std::pin::pin!(far);
    let mut far = far.fuse();
    while !sleeping.is_finished() {
        harness.advance(Duration::from_millis(5)).await;
        holds(
            (&mut far).now_or_never().is_none(),
            "slept for days",
            "no end yet",
            "an end",
        )?;
        let passed = clock.now().since(start);
        holds(
            passed < Duration::from_secs(900_000),
            "let time pass for the sleepers",
            "all awake",
            "some asleep",
        )?;
        tokio::task::yield_now().await;
    }
    let woke = sleeping
        .await
        .map_err(|error| crate::outcome::broken("slept", "no panic", error))?;
    woke?.into_iter().collect()
}

/// CL-3.
pub async fn a_dropped_sleep_leaves_the_others_asleep_and_waking<H: Harness>(
    harness: H,
) -> Outcome {
    let clock = harness.clock();
    let until = clock.now().plus(STEP);
    let far = clock.now().plus(Duration::from_secs(1_000_000));
    let mut dropped = clock.sleep_until(until);
    let mut kept = clock.sleep_until(until);
    let mut later = clock.sleep_until(far);
    for sleep in [&mut dropped, &mut kept, &mut later] {
        let _polled = sleep.now_or_never();
    }
    drop(dropped);
    while clock.now() < until {
        harness.advance(Duration::from_millis(1)).await;
    }
    within("slept beside a sleep that was dropped", kept).await?;
    holds(
        later.now_or_never().is_none(),
        "slept for days beside them",
        "no end yet",
        "an end",
    )
}
