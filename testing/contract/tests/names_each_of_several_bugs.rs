//! A store with several bugs at once: the suite names exactly the clauses that they break. A scenario that leaned on
//! another clause than its own would name one too many.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod naive;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use naive::Naive;
use seaworthy_contract::Report;
use seaworthy_contract::state_store::Harness;
use seaworthy_contract::suite::{block_on, set_patience};
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{LogId, async_trait};

thread_local! {
    /// The bugs of this thread's test. Not a parameter of the harness: the suite would be compiled once for each.
    static BUGS: Cell<u64> = const { Cell::new(0) };
}

struct With {
    bugs: u64,
    store: Arc<Naive>,
}

#[async_trait]
impl Harness for With {
    /// The suite starts its harnesses on the thread of the test.
    async fn start() -> Self {
        let bugs = BUGS.get();
        Self {
            bugs,
            store: Arc::new(Naive::new(bugs)),
        }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::<Naive>::clone(&self.store)
    }

    /// What it claims to have kept is gone.
    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        let claims = self.bugs & naive::CLAIMS_TO_SURVIVE != 0;
        claims.then(|| Arc::new(Naive::new(self.bugs)) as Arc<dyn StateStore>)
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        if self.bugs & naive::HANDLES_APART != 0 {
            return Some(Arc::new(Naive::new(self.bugs)));
        }
        Some(self.store())
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        self.store.damage(log)
    }

    async fn lose_next_reply(&self) -> bool {
        self.store.lose_next_reply();
        true
    }
}

fn report(bugs: u64) -> Report {
    BUGS.set(bugs);
    set_patience(Duration::from_secs(10));
    block_on(seaworthy_contract::state_store::run::<With>())
}

/// The clauses of the bugs, in the order of the clauses.
fn clauses_of(bugs: u64) -> Vec<&'static str> {
    let mut clauses: Vec<&str> = naive::BUGS
        .iter()
        .filter(|(bug, _name, _clause)| bugs & bug != 0)
        .map(|(_bug, _name, clause)| *clause)
        .collect();
    clauses.dedup();
    clauses
}

/// One test for each bug alone.
macro_rules! alone {
    ($($name:ident: $bug:ident;)*) => {
        mod alone {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let report = report(naive::$bug);
                    assert_eq!(report.broken_clauses(), clauses_of(naive::$bug), "{report}");
                }
            )*
        }

        #[test]
        fn every_bug_is_tried_alone() {
            let tried = [$(naive::$bug),*];
            let missed: Vec<&str> = naive::BUGS
                .iter()
                .filter(|(bug, _name, _clause)| !tried.contains(bug))
                .map(|(_bug, name, _clause)| *name)
                .collect();
            assert_eq!(missed, [""; 0]);
        }
    };
}

alone! {
    empty_is_taken: EMPTY_IS_TAKEN;
    third_body_is_lost: THIRD_BODY_IS_LOST;
    sequences_from_zero: SEQUENCES_FROM_ZERO;
    no_head_check: NO_HEAD_CHECK;
    conflict_with_expected_head: CONFLICT_WITH_EXPECTED_HEAD;
    creates_what_is_there: CREATES_WHAT_IS_THERE;
    writes_before_check: WRITES_BEFORE_CHECK;
    unlocked_check: UNLOCKED_CHECK;
    forgets_ids: FORGETS_IDS;
    id_without_content: ID_WITHOUT_CONTENT;
    seal_is_ignored: SEAL_IS_IGNORED;
    seal_is_not_enforced: SEAL_IS_NOT_ENFORCED;
    seal_is_checked_last: SEAL_IS_CHECKED_LAST;
    reads_from: READS_FROM;
    reads_all: READS_ALL;
    reads_backwards: READS_BACKWARDS;
    reads_a_thousand: READS_A_THOUSAND;
    bodies_as_text: BODIES_AS_TEXT;
    labels_are_merged: LABELS_ARE_MERGED;
    labels_are_lost: LABELS_ARE_LOST;
    first_labels_stay: FIRST_LABELS_STAY;
    any_label_will_do: ANY_LABEL_WILL_DO;
    list_by_name: LIST_BY_NAME;
    pages_repeat: PAGES_REPEAT;
    no_label_limit: NO_LABEL_LIMIT;
    case_is_folded: CASE_IS_FOLDED;
    a_failure_poisons_the_next: A_FAILURE_POISONS_THE_NEXT;
    claims_to_survive: CLAIMS_TO_SURVIVE;
    no_tombstone: NO_TOMBSTONE;
    keeps_documents: KEEPS_DOCUMENTS;
    deletes_once: DELETES_ONCE;
    lists_what_is_deleted: LISTS_WHAT_IS_DELETED;
    no_limit: NO_LIMIT;
    limit_off_by_one: LIMIT_OFF_BY_ONE;
    limit_of_each_body: LIMIT_OF_EACH_BODY;
    damage_is_empty: DAMAGE_IS_EMPTY;
    no_versions: NO_VERSIONS;
    lost_writer: LOST_WRITER;
    version_stays_one: VERSION_STAYS_ONE;
    removes_any_version: REMOVES_ANY_VERSION;
    documents_unsorted: DOCUMENTS_UNSORTED;
    handles_apart: HANDLES_APART;
    watch_is_not_there: WATCH_IS_NOT_THERE;
    lost_reply_has_no_effect: LOST_REPLY_HAS_NO_EFFECT;
}

/// One test for each set of bugs, and the clauses that must be named.
macro_rules! together {
    ($($name:ident: [$($bug:ident),*] => [$($clause:literal),*];)*) => {
        mod together {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let bugs = 0 $(| naive::$bug)*;
                    let expected: &[&str] = &[$($clause),*];
                    assert_eq!(clauses_of(bugs), expected);
                    let report = report(bugs);
                    assert_eq!(report.broken_clauses(), expected, "{report}");
                }
            )*
        }
    };
}

together! {
    no_bug_at_all: [] => [];
    five_that_everybody_makes:
        [NO_HEAD_CHECK, SEAL_IS_IGNORED, LABELS_ARE_MERGED, NO_TOMBSTONE, NO_LIMIT]
        => ["SS-2", "SS-5", "SS-7", "SS-10", "SS-11"];
    five_in_reading_and_retrying:
        [CONFLICT_WITH_EXPECTED_HEAD, FORGETS_IDS, READS_FROM, PAGES_REPEAT, NO_VERSIONS]
        => ["SS-2", "SS-4", "SS-6", "SS-7", "SS-13"];
    five_in_deleting_and_documents:
        [EMPTY_IS_TAKEN, UNLOCKED_CHECK, KEEPS_DOCUMENTS, LIMIT_OFF_BY_ONE, LOST_WRITER]
        => ["SS-1", "SS-3", "SS-10", "SS-11", "SS-13"];
    five_in_promises:
        [SEAL_IS_NOT_ENFORCED, CLAIMS_TO_SURVIVE, DAMAGE_IS_EMPTY, HANDLES_APART, LOST_REPLY_HAS_NO_EFFECT]
        => ["SS-5", "SS-9", "SS-12", "SS-14", "SS-16"];
    one_in_every_clause:
        [THIRD_BODY_IS_LOST, CREATES_WHAT_IS_THERE, UNLOCKED_CHECK, ID_WITHOUT_CONTENT, SEAL_IS_IGNORED,
            READS_ALL, LIST_BY_NAME, CASE_IS_FOLDED, CLAIMS_TO_SURVIVE, DELETES_ONCE, LIMIT_OF_EACH_BODY,
            DAMAGE_IS_EMPTY, REMOVES_ANY_VERSION, HANDLES_APART, WATCH_IS_NOT_THERE, LOST_REPLY_HAS_NO_EFFECT]
        => ["SS-1", "SS-2", "SS-3", "SS-4", "SS-5", "SS-6", "SS-7", "SS-8", "SS-9", "SS-10", "SS-11", "SS-12",
            "SS-13", "SS-14", "SS-15", "SS-16"];
}
