//! How a list of scenarios becomes a report or a set of tests. Not for direct use: the macros call it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::outcome::{Halt, Outcome, Violation, broken};
use crate::record::{FOLDER, Origin};
use crate::report::{Adapter, Level, Report, Verdict};

/// No scenario takes this long on any machine that is not broken.
const LONGEST: Duration = Duration::from_secs(120);

/// A scenario of a suite that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which it is, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The clause.
    pub clause: &'static str,
    /// The scenario's sentence, as the name of its function.
    pub scenario: &'static str,
}

/// Runs one scenario to its verdict. One that panics, in the harness or in the adapter, has failed.
pub async fn judge(
    clause: &'static str,
    scenario: &'static str,
    run: impl Future<Output = Outcome> + Send,
) -> Verdict {
    // Compiled once, not for every scenario of every harness.
    judge_boxed(clause, scenario, Box::pin(run)).await
}

async fn judge_boxed(
    clause: &'static str,
    scenario: &'static str,
    run: BoxFuture<'_, Outcome>,
) -> Verdict {
    // Each scenario has a harness of its own: what a panic leaves behind, no other one sees.
    let run = AssertUnwindSafe(run).catch_unwind();
    let outcome = match tokio::time::timeout(LONGEST, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(broken("ran the scenario", "no panic", words(&*panic))),
        Err(_late) => Err(broken("ran the scenario", "an end", "none in two minutes")),
    };
    match outcome {
        Ok(()) => Verdict::Passed { clause, scenario },
        Err(Halt::NotDeclared { capability, reason }) => Verdict::NotDeclared {
            clause,
            scenario,
            capability,
            reason,
        },
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

/// A scenario on its way to its verdict, and the adapter, which the harness may fail to make.
pub type Judging = BoxFuture<'static, (Option<Adapter>, Verdict)>;

/// A report of scenarios of which `width` are under way at a time, in the order of the list.
pub async fn at_once(port: &'static str, scenarios: Vec<Judging>, width: usize) -> Report {
    let mut report = Report::new(port);
    let mut judged = futures_util::stream::iter(scenarios).buffered(width);
    while let Some((adapter, verdict)) = judged.next().await {
        report.add(adapter, verdict);
    }
    report
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
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
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    crate::profile::two_threads(future)
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
        Verdict::NotDeclared {
            clause,
            scenario,
            capability,
            reason,
        } => {
            panic!(
                "{clause} does not apply, for {capability} is not declared: {reason}; list `{scenario}` under `not_checkable` with a reason"
            );
        }
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

/// Fails the test unless the scenario, which is listed as not checkable, comes to no judgement.
///
/// # Panics
///
/// When it does: that is how a test fails.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn demand_not_checkable(verdict: &Verdict) {
    match verdict {
        Verdict::NotDeclared { .. } | Verdict::NotCheckable { .. } => {}
        Verdict::Passed { clause, scenario } => {
            panic!("{clause} can be checked: take `{scenario}` off the list of what cannot");
        }
        Verdict::Failed(violation) => panic!("{violation}"),
    }
}

/// Keeps the verdict of a test where the environment asks for it, with the reason of its exclusion if it has one.
///
/// # Panics
///
/// When it cannot be kept: a report with a gap would be no report.
pub fn keep(
    origin: &Origin,
    adapter: Option<&Adapter>,
    verdict: &Verdict,
    exclusion: Option<&'static str>,
) {
    let mut verdict = verdict.clone();
    if let Some(reason) = exclusion {
        verdict.explain(reason);
    }
    must_be_kept(origin.judged(adapter, &verdict));
}

/// Keeps the list of scenarios where the environment asks for it.
///
/// # Panics
///
/// When it cannot be kept.
pub fn announce(origin: &Origin, scenarios: &[(&'static str, &'static str)]) {
    must_be_kept(origin.announced(scenarios));
}

/// Prints a report, and fails the test if something is broken.
///
/// # Panics
///
/// When something is: that is how a test fails.
#[expect(clippy::print_stdout, reason = "printing it is what the test is for")]
pub fn show(origin: &Origin, report: &Report) {
    println!("{report}");
    must_be_kept(origin.reported(report));
    assert!(report.level() > Level::Broken, "something is broken");
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn must_be_kept(kept: std::io::Result<()>) {
    if let Err(error) = kept {
        panic!("the folder that {FOLDER} names cannot be written to: {error}");
    }
}

/// Turns a list of scenarios into the list as data and the functions that run all of it. The module has an
/// `about(&harness)`, which describes the adapter.
#[doc(hidden)]
#[macro_export]
macro_rules! __runner {
    ($port:ident [$($clause:literal $name:ident)*]) => {
        /// Every scenario with its clause, in the order of the clauses.
        pub const SCENARIOS: &[(&str, &str)] = &[$(($clause, stringify!($name))),*];

        /// Runs every scenario, each on a harness of its own.
        pub async fn run<H: Harness>() -> $crate::Report {
            run_telling::<H>(|_step| {}).await
        }

        /// The same, telling of each scenario before it begins.
        pub async fn run_telling<H: Harness>(
            mut tell: impl FnMut($crate::Step) + Send,
        ) -> $crate::Report {
            let mut report = $crate::Report::new(stringify!($port));
            $(
                tell($crate::Step {
                    number: report.verdicts.len() + 1,
                    of: SCENARIOS.len(),
                    clause: $clause,
                    scenario: stringify!($name),
                });
                let mut adapter = None;
                let scenario = async {
                    let harness = H::start().await;
                    adapter = Some(about(&harness));
                    $name(harness).await
                };
                let verdict = $crate::suite::judge($clause, stringify!($name), scenario).await;
                report.add(adapter, verdict);
            )*
            report
        }

        /// The same with as many at a time, in turns on one task: for adapters that mostly wait.
        #[doc(hidden)]
        pub async fn run_at_once<H: Harness>(width: usize) -> $crate::Report {
            let scenarios: Vec<$crate::suite::Judging> = vec![$(Box::pin(async {
                let mut adapter = None;
                let scenario = async {
                    let harness = H::start().await;
                    adapter = Some(about(&harness));
                    $name(harness).await
                };
                let verdict = $crate::suite::judge($clause, stringify!($name), scenario).await;
                (adapter, verdict)
            })),*];
            $crate::suite::at_once(stringify!($port), scenarios, width).await
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
        $crate::__tests! {
            @on two_threads [] ($d) $port, $harness, $({ $($excluded : $reason),* })? [$($clause $name)*]
        }
    };
    (
        @on $profile:ident $each:tt ($d:tt) $port:ident, $harness:ty, $({ $($excluded:ident : $reason:literal),* $(,)? })?
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
                            let (_adapter, verdict) =
                                $crate::__verdict!($profile $port, $harness, $d clause, $excluded);
                            $crate::suite::demand(&verdict);
                        }

                        mod $excluded {
                            use super::*;

                            $crate::__with! { $each
                                fn cannot_be_checked_indeed() {
                                    $crate::__judged!(@on $profile $port, $harness, $d clause, $excluded, demand_not_checkable, $reason);
                                }
                            }
                        }
                    };
                )*)?
                ($d clause:literal $d name:ident) => {
                    $crate::__with! { $each
                        fn $d name() {
                            $crate::__judged!(@on $profile $port, $harness, $d clause, $d name, demand);
                        }
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
                if stringify!($profile) == "two_threads" {
                    $crate::suite::announce(&$crate::__origin!($port, $harness), $crate::$port::SCENARIOS);
                }
            }

            #[test]
            #[ignore = "prints the whole report: run it alone with --ignored --nocapture"]
            fn report() {
                let report = $crate::profile::$profile($crate::$port::run::<$harness>());
                let report = report.with_reasons(&[$($((stringify!($excluded), $reason)),*)?]);
                $crate::suite::show(&$crate::__origin!($port, $harness), &report);
            }
        }
    };
}

/// A test, with the attributes that each test of its list has.
#[doc(hidden)]
#[macro_export]
macro_rules! __with {
    ([$(#[$each:meta])*] $test:item) => {
        #[test]
        $(#[$each])*
        $test
    };
}

/// Which harness of which package the tests at this place are of.
#[doc(hidden)]
#[macro_export]
macro_rules! __origin {
    ($port:ident, $harness:ty) => {
        $crate::record::Origin {
            package: match option_env!("CARGO_PKG_NAME") {
                Some(package) => package,
                None => "",
            },
            module: module_path!(),
            harness: stringify!($harness),
            port: stringify!($port),
        }
    };
}

/// The adapter, and what becomes of one scenario on a harness of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! __verdict {
    ($profile:ident $port:ident, $harness:ty, $clause:literal, $name:ident) => {
        $crate::profile::$profile(async {
            let mut adapter = None;
            let scenario = async {
                let harness = <$harness as $crate::$port::Harness>::start().await;
                adapter = Some($crate::$port::about(&harness));
                $crate::$port::$name(harness).await
            };
            let verdict = $crate::suite::judge($clause, stringify!($name), scenario).await;
            (adapter, verdict)
        })
    };
}

/// The body of a scenario's test.
#[doc(hidden)]
#[macro_export]
macro_rules! __judged {
    ($port:ident, $harness:ty, $clause:literal, $name:ident, $demand:ident) => {
        $crate::__judged!(@on two_threads $port, $harness, $clause, $name, $demand);
    };
    (@on $profile:ident $port:ident, $harness:ty, $clause:literal, $name:ident, $demand:ident $(, $exclusion:literal)?) => {
        let (adapter, verdict) = $crate::__verdict!($profile $port, $harness, $clause, $name);
        // The report is of the usual circumstances.
        if stringify!($profile) == "two_threads" {
            let exclusion: Option<&'static str> = [$($exclusion)?].first().copied();
            let origin = $crate::__origin!($port, $harness);
            $crate::suite::keep(&origin, adapter.as_ref(), &verdict, exclusion);
        }
        $crate::suite::$demand(&verdict);
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::declared;

    fn judged(run: impl Future<Output = Outcome> + Send) -> Verdict {
        block_on(judge("SS-1", "it_holds", run))
    }

    #[test]
    fn a_scenario_that_panics_has_failed_and_says_why() {
        let verdict = judged(async { std::panic::panic_any("the disk is on fire") });
        assert!(
            matches!(&verdict, Verdict::Failed(violation) if violation.seen.contains("the disk is on fire")),
            "{verdict:?}"
        );
    }

    #[test]
    fn what_is_not_declared_is_judged_both_ways() {
        let failed = || Err(broken("tried", "one", "two"));
        let unable = || Err(Halt::NotCheckable("nobody can look"));
        let verdict =
            |is_declared, outcome| judged(async move { declared("watch", is_declared, outcome) });
        assert!(matches!(verdict(true, Ok(())), Verdict::Passed { .. }));
        assert!(matches!(verdict(true, failed()), Verdict::Failed(_)));
        assert!(matches!(
            verdict(true, unable()),
            Verdict::NotCheckable { .. }
        ));
        assert!(matches!(verdict(false, Ok(())), Verdict::Failed(_)));
        for outcome in [failed(), unable()] {
            assert!(matches!(
                verdict(false, outcome),
                Verdict::NotDeclared {
                    capability: "watch",
                    ..
                }
            ));
        }
    }

    #[test]
    fn only_what_passed_counts_as_passed() {
        let fails = |verdict: &Verdict| {
            let demanded = std::panic::catch_unwind(|| demand(verdict));
            demanded.is_err()
        };
        assert!(!fails(&judged(async { Ok(()) })));
        assert!(fails(&judged(async {
            Err(Halt::NotCheckable("nobody can look"))
        })));
        assert!(fails(&judged(async {
            declared("watch", false, Err(broken("tried", "one", "two")))
        })));
    }
}
