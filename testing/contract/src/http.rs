//! What adapters of models behind HTTP are tested with: a server driven by hand, and scenarios of hostile servers.
//!
//! An adapter's tests write one [`Dialect`], which is enough for both suites:
//!
//! ```text
//! seaworthy_contract::model_provider_contract! { harness: Spoken<MyDialect> }
//! seaworthy_contract::hostile_tests! { dialect: MyDialect }
//! ```

mod dialect;
mod hostile;
mod server;

pub use dialect::{Asked, Dialect, Refusal, Spoken, retry_after};
pub use hostile::*;
pub use server::{Act, Backend, chunked, head, listen};

/// Makes one test of each hostile server.
#[macro_export]
macro_rules! hostile_tests {
    (dialect: $dialect:ty $(,)?) => {
        $crate::hostile_tests! { @ $dialect:
            an_answer_may_be_split_at_every_byte
            an_answer_may_end_at_every_byte
            a_connection_may_break_at_every_byte
            an_answer_that_drips_is_not_silent
            a_drip_that_stops_is_silence
            a_frame_beyond_the_cap_is_cut_off
            an_answer_beyond_the_cap_is_cut_off
            headers_without_end_are_no_answer
            frames_of_wrong_types_are_malformed
            an_error_after_success_is_an_error
            a_second_terminal_frame_changes_nothing
            every_form_of_a_delay_is_understood
            a_reset_is_a_broken_connection
            a_redirect_is_not_followed
            bytes_that_are_no_letters_are_malformed
            what_is_no_answer_is_none
            an_error_body_without_end_is_not_waited_for
        }
    };
    (@ $dialect:ty: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::suite::block_on($crate::http::$name::<$dialect>());
            }
        )*
    };
}
