//! Hostile servers that speak the adapter's interfaces.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

mod chat {
    seaworthy_contract::hostile_tests! { dialect: crate::dialect::Chat }
}

mod responses {
    seaworthy_contract::hostile_tests! { dialect: crate::dialect::Responses }
}
