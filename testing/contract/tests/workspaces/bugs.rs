//! What a store does wrong.

use std::cell::Cell;

pub(crate) const NONE: u8 = 0;
pub(crate) const ANY_IDENTITY: u8 = 1;
pub(crate) const STARTS_OVER: u8 = 2;
pub(crate) const TORN: u8 = 3;
pub(crate) const NEW_TIMES: u8 = 4;
pub(crate) const STORES_AGAIN: u8 = 5;
pub(crate) const TRUSTS_TIME: u8 = 6;
pub(crate) const TAKES_PAUSED: u8 = 7;
pub(crate) const RECORDS_FIRST: u8 = 8;
pub(crate) const HARD_LINKS: u8 = 9;
pub(crate) const MODELESS_MANIFEST: u8 = 10;
pub(crate) const NO_EMPTY_DIRECTORIES: u8 = 11;
pub(crate) const FORGETS_MODES: u8 = 12;
pub(crate) const ANY_SNAPSHOT: u8 = 13;
pub(crate) const NEVER_EXPIRES: u8 = 14;
pub(crate) const UNVERIFIED: u8 = 15;
pub(crate) const FOLLOWS_LINKS: u8 = 16;
pub(crate) const LEXICAL_LINKS: u8 = 17;
pub(crate) const CHECKS_THEN_USES: u8 = 18;
pub(crate) const CLEARS_THROUGH_LINKS: u8 = 19;
pub(crate) const FOLDS_NAMES: u8 = 20;
pub(crate) const FOLDS_IDS: u8 = 21;
pub(crate) const READS_PIPES: u8 = 22;
pub(crate) const LATE_QUOTA: u8 = 23;
pub(crate) const COUNTS_REFUSED: u8 = 24;
pub(crate) const ANY_SOURCE_SIZE: u8 = 25;
pub(crate) const CLEANS_PINNED: u8 = 26;
pub(crate) const CLEANS_SHARED: u8 = 27;
pub(crate) const CLEANS_ACTIVE: u8 = 28;
pub(crate) const FORGETS_PENDING: u8 = 29;
pub(crate) const SWEEPS_YOUNG: u8 = 30;
pub(crate) const SWEEPS_SHARED: u8 = 31;
pub(crate) const UNLOCKED_RECORD: u8 = 32;
pub(crate) const READS_AGAIN: u8 = 33;
pub(crate) const HIDES_WORK: u8 = 34;
pub(crate) const WEAKENS: u8 = 35;
pub(crate) const SHOWS_SECRETS: u8 = 36;
/// It declares less than it holds.
pub(crate) const MODEST: u8 = 37;
/// Its processes have a store of their own, so nobody else sees what they were acknowledged.
pub(crate) const ELSEWHERE: u8 = 38;

thread_local! {
    static BUG: Cell<u8> = const { Cell::new(NONE) };
}

/// Gives this bug to the stores that this thread makes from now on. A harness starts itself, and a harness for each bug would
/// make the compiler build all scenarios for each.
pub(crate) fn make(bug: u8) {
    BUG.set(bug);
}

/// The bug that this thread makes.
pub(super) fn made() -> u8 {
    BUG.get()
}
