//! Hostile servers that speak Messages.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Messages;

seaworthy_contract::hostile_tests! { dialect: Messages }
