//! Hostile servers that speak `generateContent`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Generate;

seaworthy_contract::hostile_tests! { dialect: Generate }
