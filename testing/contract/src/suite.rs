//! How a list of scenarios becomes a report or a set of tests. Not for direct use: the macros call it.

use std::future::Future;
use std::time::Duration;

use crate::outcome::{Halt, Outcome, Violation, broken};
use crate::report::Verdict;

/// No scenario takes this long on any machine that is not broken.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs one scenario to its verdict.
pub async fn judge(
    clause: &'static str,
    scenario: &'static str,
    run: impl Future<Output = Outcome>,
) -> Verdict {
    let outcome = tokio::time::timeout(LONGEST, run).await;
    let outcome = outcome
        .unwrap_or_else(|_late| Err(broken("ran the scenario", "an end", "none in two minutes")));
    match outcome {
        Ok(()) => Verdict::Passed { clause, scenario },
        Err(Halt::NotCheckable(reason)) => Verdict::NotCheckable {
            clause,
            scenario,
            reason,
        },
        Err(Halt::Broken {
            did,
            expected,
            seen,
        }) => Verdict::Failed(Violation {
            clause,
            scenario,
            did,
            expected,
            seen,
        }),
    }
}

/// Makes every scenario of this process give up after this long. For suites that run broken adapters.
pub fn set_patience(patience: Duration) {
    crate::outcome::set_patience(patience);
}

/// Runs `future` on a runtime of its own with two threads.
///
/// # Panics
///
/// When the operating system gives no threads.
#[expect(
    clippy::expect_used,
    reason = "without a runtime no test can run, and a test fails by panicking"
)]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Fails the test unless the scenario passed.
///
/// # Panics
///
/// When it did not: that is how a test fails.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn demand(verdict: &Verdict) {
    match verdict {
        Verdict::Passed { .. } => {}
        Verdict::Failed(violation) => panic!("{violation}"),
        Verdict::NotCheckable {
            clause,
            scenario,
            reason,
        } => {
            panic!(
                "{clause} cannot be checked: {reason}; list `{scenario}` under `not_checkable` with a reason"
            );
        }
    }
}

/// Fails the test unless the scenario, which is listed as not checkable, is.
///
/// # Panics
///
/// When it can be checked: that is how a test fails.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn demand_not_checkable(verdict: &Verdict) {
    match verdict {
        Verdict::NotCheckable { .. } => {}
        Verdict::Passed { clause, scenario } => {
            panic!("{clause} can be checked: take `{scenario}` off the list of what cannot");
        }
        Verdict::Failed(violation) => panic!("{violation}"),
    }
}

/// Turns a list of scenarios into the list as data and the function that runs all of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __runner {
    ($port:ident [$($clause:literal $name:ident)*]) => {
        /// Every scenario with its clause, in the order of the clauses.
        pub const SCENARIOS: &[(&str, &str)] = &[$(($clause, stringify!($name))),*];

        /// Runs every scenario, each on a harness of its own.
        pub async fn run<H: Harness>() -> $crate::Report {
            let mut verdicts = Vec::with_capacity(SCENARIOS.len());
            $(
                let scenario = async { $name(H::start().await).await };
                verdicts.push($crate::suite::judge($clause, stringify!($name), scenario).await);
            )*
            $crate::Report { port: stringify!($port), verdicts }
        }
    };
}

/// Turns a list of scenarios into tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    (
        ($d:tt) $port:ident, $harness:ty, $({ $($excluded:ident : $reason:literal),* $(,)? })?
        [$($clause:literal $name:ident)*]
    ) => {
        mod $port {
            use super::*;

            macro_rules! scenario {
                $($(
                    ($d clause:literal $excluded) => {
                        #[test]
                        #[ignore = $reason]
                        fn $excluded() {
                            $crate::__judged!($port, $harness, $d clause, $excluded, demand);
                        }

                        mod $excluded {
                            use super::*;

                            #[test]
                            fn cannot_be_checked_indeed() {
                                $crate::__judged!($port, $harness, $d clause, $excluded, demand_not_checkable);
                            }
                        }
                    };
                )*)?
                ($d clause:literal $d name:ident) => {
                    #[test]
                    fn $d name() {
                        $crate::__judged!($port, $harness, $d clause, $d name, demand);
                    }
                };
            }

            $(scenario! { $clause $name })*

            #[test]
            fn what_is_listed_as_not_checkable_is_in_the_suite() {
                let excluded: &[&str] = &[$($(stringify!($excluded)),*)?];
                for name in excluded {
                    let known = $crate::$port::SCENARIOS.iter().any(|(_, scenario)| scenario == name);
                    assert!(known, "the suite has no scenario {name}");
                }
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __judged {
    ($port:ident, $harness:ty, $clause:literal, $name:ident, $demand:ident) => {
        let verdict =
            $crate::suite::block_on($crate::suite::judge($clause, stringify!($name), async {
                let harness = <$harness as $crate::$port::Harness>::start().await;
                $crate::$port::$name(harness).await
            }));
        $crate::suite::$demand(&verdict);
    };
}
