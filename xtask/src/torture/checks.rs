//! What must hold of a run that was tortured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::{Bench, IDEMPOTENT, NON_IDEMPOTENT, calls_of};
use super::process::{Subject, left_behind};
use crate::failure::Failure;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) runs: u32,
    pub(super) kills: u32,
    pub(super) attempts: u64,
    pub(super) effects: u64,
    pub(super) begun_again: u64,
    pub(super) verified_yes: u64,
    pub(super) verified_no: u64,
    pub(super) repeated: u64,
    /// What should not have been.
    pub(super) faults: Vec<String>,
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.kills += other.kills;
        self.attempts += other.attempts;
        self.effects += other.effects;
        self.begun_again += other.begun_again;
        self.verified_yes += other.verified_yes;
        self.verified_no += other.verified_no;
        self.repeated += other.repeated;
        self.faults.extend(other.faults);
    }
}

/// Holds a run that has ended against `reference`, the summary of an undisturbed one.
pub(super) fn check(
    bench: &Bench,
    subject: &Subject,
    reference: Option<&Value>,
) -> Result<(Totals, Value), Failure> {
    let mut totals = Totals {
        runs: 1,
        ..Totals::default()
    };
    let (shown, exit) = subject.ask(bench, "show")?;
    if exit != Some(0) {
        totals.faults.push(format!("show ended with {exit:?}"));
    }
    totals.attempts = shown.get("attempt").and_then(Value::as_u64).unwrap_or(0);
    if shown.get("status").and_then(Value::as_str) != Some("succeeded") {
        totals.faults.push(format!(
            "it did not succeed: {:#}",
            summary(&shown, &subject.run)
        ));
    }
    let summary = summary(&shown, &subject.run);
    if let Some(reference) = reference.filter(|reference| **reference != summary) {
        totals.faults.push(format!(
            "its final state is {summary:#}, that of an undisturbed run {reference:#}"
        ));
    }
    let (verified, exit) = subject.ask(bench, "verify")?;
    if exit != Some(0) {
        totals
            .faults
            .push(format!("verify ended with {exit:?}: {verified}"));
    }
    journals(subject, &shown, &mut totals)?;
    let errors = subject.errors();
    if errors.contains("panicked") {
        totals.faults.push(format!("a process panicked:\n{errors}"));
    }
    totals
        .faults
        .extend(left_behind(&subject.workspace, Duration::from_secs(5)));
    for fault in &mut totals.faults {
        *fault = format!("{}: {fault}", subject.run);
    }
    Ok((totals, summary))
}

/// What two runs of the same agent have in common, however they went.
fn summary(shown: &Value, run: &str) -> Value {
    let of = |name: &str| shown.get(name).cloned().unwrap_or(Value::Null);
    let calls: Vec<Value> = entries(shown, "calls")
        .map(|call| {
            let of = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
            json!([
                of("call_id").replace(run, "RUN"),
                of("tool"),
                of("status"),
                of("side_effect")
            ])
        })
        .collect();
    let ledger = entries(shown, "ledger").count();
    json!({
        "status": of("status"), "output": of("output"), "error": of("error"), "turns": of("turns"), "usage": of("usage"),
        "waiting_for": of("waiting_for"), "ledger": ledger, "calls": calls,
    })
}

fn entries<'a>(shown: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    shown
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn keys_of(shown: &Value, tool: &str) -> BTreeSet<String> {
    entries(shown, "ledger")
        .filter(|call| call.get("tool").and_then(Value::as_str) == Some(tool))
        .filter_map(|call| call.get("idempotency_key").and_then(Value::as_str))
        .map(str::to_owned)
        .collect()
}

fn journals(subject: &Subject, shown: &Value, totals: &mut Totals) -> Result<(), Failure> {
    let effects = subject.workspace.join("effects");
    for (tools, once) in [
        (NON_IDEMPOTENT.as_slice(), true),
        (IDEMPOTENT.as_slice(), false),
    ] {
        let mut calls = 0;
        for tool in tools {
            let journal = Journal::read(&effects.join(tool))?;
            let wanted = keys_of(shown, tool);
            calls += wanted.len();
            let happened: BTreeSet<String> = journal
                .calls
                .iter()
                .filter(|(_key, call)| call.effects > 0)
                .map(|(key, _call)| key.clone())
                .collect();
            if happened != wanted {
                totals.faults.push(format!(
                    "{tool} happened for {happened:?}, the ledger has {wanted:?}"
                ));
            }
            for (key, call) in &journal.calls {
                if once {
                    totals.effects += call.effects;
                    totals.begun_again += call.begun.saturating_sub(1);
                    totals.verified_yes += call.yes;
                    totals.verified_no += call.no;
                    totals.faults.extend(
                        call.faults
                            .iter()
                            .map(|fault| format!("{tool} {key}: {fault}")),
                    );
                } else {
                    totals.repeated += call.effects.saturating_sub(1);
                }
            }
        }
        if calls != calls_of(tools) {
            totals.faults.push(format!(
                "the ledger has {calls} calls of {tools:?}, the script {}",
                calls_of(tools)
            ));
        }
    }
    Ok(())
}

/// What a tool has written down itself.
#[derive(Debug, Default)]
struct Journal {
    calls: BTreeMap<String, Call>,
}

/// What happened under one key.
#[derive(Debug, Default)]
struct Call {
    begun: u64,
    effects: u64,
    yes: u64,
    no: u64,
    /// The process that may act: the one begun last, unless a verifier has said since that nothing happened.
    acting: Option<String>,
    /// Whether the verifier has said no since the call was begun last.
    asked: bool,
    faults: Vec<String>,
}

impl Journal {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut journal = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (what, key, process) = (words.next(), words.next(), words.next());
            let call = journal
                .calls
                .entry(key.unwrap_or_default().to_owned())
                .or_default();
            call.note(what.unwrap_or_default(), process.unwrap_or_default());
        }
        journal
    }
}

impl Call {
    fn note(&mut self, what: &str, process: &str) {
        match what {
            "begin" => {
                self.begun += 1;
                if self.effects > 0 {
                    self.faults
                        .push("begun again after it had happened".to_owned());
                } else if self.begun > 1 && !self.asked {
                    self.faults
                        .push("begun again without asking the verifier".to_owned());
                }
                self.acting = Some(process.to_owned());
                self.asked = false;
            }
            "effect" => {
                self.effects += 1;
                if self.effects > 1 {
                    self.faults.push("happened twice".to_owned());
                }
                if self.acting.as_deref() != Some(process) {
                    self.faults
                        .push("a process acted that had been given up".to_owned());
                }
            }
            "end" => {}
            "yes" => self.yes += 1,
            "no" => {
                self.no += 1;
                self.asked = true;
                self.acting = None;
            }
            _ => self.faults.push(format!("the journal has {what:?}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn faults(journal: &str) -> Vec<String> {
        Journal::parse(journal).calls.remove("k").unwrap().faults
    }

    #[test]
    fn a_call_that_was_cut_off_is_begun_again_once_the_verifier_says_no() {
        assert!(faults("begin k 1\neffect k 1\nend k 1\n").is_empty());
        assert!(faults("begin k 1\nno k 2\nbegin k 3\neffect k 3\nend k 3\n").is_empty());
        assert!(faults("begin k 1\neffect k 1\nyes k 2\n").is_empty());
    }

    #[test]
    fn a_double_effect_an_orphan_and_a_repetition_without_asking_are_found() {
        assert_eq!(
            faults("begin k 1\neffect k 1\nbegin k 2\neffect k 2\n").len(),
            2
        );
        assert_eq!(faults("begin k 1\nbegin k 2\neffect k 2\n").len(), 1);
        assert_eq!(faults("begin k 1\nno k 2\neffect k 1\n").len(), 1);
        assert_eq!(
            faults("begin k 1\nno k 2\nbegin k 3\neffect k 1\n").len(),
            1
        );
    }

    #[test]
    fn two_runs_that_ended_alike_have_the_same_summary() {
        let one = json!({ "status": "succeeded", "attempt": 1, "calls": [{ "call_id": "a.c1", "tool": "t" }] });
        let two = json!({ "status": "succeeded", "attempt": 9, "calls": [{ "call_id": "b.c1", "tool": "t" }] });
        let other = json!({ "status": "succeeded", "attempt": 1, "calls": [{ "call_id": "b.c1", "tool": "u" }] });
        assert_eq!(summary(&one, "a"), summary(&two, "b"));
        assert_ne!(summary(&one, "a"), summary(&other, "b"));
    }

    /// A program in `folder` that does this, whatever it is asked.
    pub(in crate::torture) fn program(folder: &Path, script: &str) -> PathBuf {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// A run that went well, as its program shows it and as its tools remember it.
    struct Told {
        shown: Value,
        verify: i32,
        errors: &'static str,
        /// The journals, by the tool's name.
        journals: BTreeMap<&'static str, String>,
    }

    impl Told {
        fn well() -> Self {
            let (mut ledger, mut journals) = (Vec::new(), BTreeMap::new());
            for tool in NON_IDEMPOTENT.into_iter().chain(IDEMPOTENT) {
                let mut journal = String::new();
                for call in 0..calls_of(&[tool]) {
                    let key = format!("{tool}-{call}");
                    journal.push_str(&format!("begin {key} 1\neffect {key} 1\nend {key} 1\n"));
                    ledger.push(json!({ "tool": tool, "idempotency_key": key }));
                }
                journals.insert(tool, journal);
            }
            Self {
                shown: json!({ "status": "succeeded", "output": "done", "attempt": 2, "ledger": ledger }),
                verify: 0,
                errors: "",
                journals,
            }
        }

        fn journal(&mut self, tool: &'static str) -> &mut String {
            self.journals.entry(tool).or_default()
        }

        /// What the check finds.
        fn faults(&self) -> Vec<String> {
            let folder = tempfile::tempdir().unwrap();
            let shown = folder.path().join("shown");
            fs::write(&shown, self.shown.to_string()).unwrap();
            // The question is behind the options.
            let script = format!(
                "for word; do case $word in show) cat {}; exit 0;; verify) echo null; exit {};; esac; done",
                shown.display(),
                self.verify
            );
            let bench = Bench::new(program(folder.path(), &script)).unwrap();
            let subject =
                Subject::on_server(&bench, "run-1".to_owned(), "postgres://none").unwrap();
            for (tool, journal) in &self.journals {
                fs::write(subject.workspace.join("effects").join(tool), journal).unwrap();
            }
            fs::write(bench.folder().join("run-1").join("stderr"), self.errors).unwrap();
            let reference = summary(&Self::well().shown, "run-1");
            let (totals, _summary) = check(&bench, &subject, Some(&reference)).unwrap();
            totals.faults
        }
    }

    #[test]
    fn a_run_that_went_well_has_no_fault() {
        assert_eq!(Told::well().faults(), [""; 0]);
    }

    #[test]
    fn every_check_of_a_run_can_fail() {
        type Tampering = (&'static str, fn(&mut Told));
        let cases: [Tampering; 9] = [
            ("a broken chain", |told| told.verify = 1),
            ("a run that has not ended", |told| {
                told.shown["status"] = json!("running");
            }),
            ("a run that ended otherwise", |told| {
                told.shown["output"] = json!("something else");
            }),
            ("an effect done twice", |told| {
                told.journal("charge")
                    .push_str("begin charge-0 2\neffect charge-0 2\n");
            }),
            ("an effect of a process that was given up", |told| {
                told.journal("charge").push_str("effect charge-0 9\n");
            }),
            ("an effect that the ledger has and nobody did", |told| {
                told.journal("ship").clear();
            }),
            ("an effect that the ledger does not know", |told| {
                told.journal("tag").push_str("begin new 1\neffect new 1\n");
            }),
            ("a call that the ledger has lost", |told| {
                let ledger = told.shown["ledger"].as_array_mut().unwrap();
                ledger.pop();
            }),
            ("a process that panicked", |told| {
                told.errors = "thread 'main' panicked at";
            }),
        ];
        for (what, tamper) in cases {
            let mut told = Told::well();
            tamper(&mut told);
            assert!(!told.faults().is_empty(), "{what} is not found");
        }
    }

    #[test]
    fn a_process_that_still_works_for_a_run_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        let found = left_behind(folder.path(), Duration::ZERO);
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(left_behind(folder.path(), Duration::ZERO), [""; 0]);
    }
}
