//! Hostile servers that speak Ollama's chat.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Chat;

seaworthy_contract::hostile_tests! { dialect: Chat }
