//! A model that follows a script: for examples, tests and benchmarks.
//!
//! # The script
//!
//! YAML with one list, `turns`. The n-th answer since the user last spoke plays the n-th turn.
//!
//! ```yaml
//! turns:
//!   - text: I will look around.           # what the model says; a template
//!     calls:                              # what it wants called
//!       - tool: list
//!         arguments: { path: . }          # every text in it is a template
//!     latency: 200ms                      # how long it takes to say it
//!   - when: "{{ not last[0].is_error }}"  # the turn is left out if this is false, empty or 0
//!     repeat: 3                           # the turn is played so often
//!     text: "Found {{ results[0].output.entries | length }} entries, round {{ iteration }}."
//! ```
//!
//! Templates are those of [minijinja](https://docs.rs/minijinja). They see `input`, what the user said last; `results`, all
//! tool results since then, oldest first, each with `tool`, `text`, `output` (the text as JSON if it is JSON) and
//! `is_error`; `last`, the results of the newest answer; `turn`, the number of the turn from 0; and `iteration` of a
//! repeated turn from 0. A text that is one expression and nothing else keeps the type of its value. A name that
//! nothing gives makes the script wrong; a value that is not there and a turn beyond the last fail the call.
//!
//! The answer depends on the conversation alone, so a run that goes on in another process goes on in the script.

mod conversation;
mod model;
mod script;
mod template;

pub use model::ScriptedModel;
pub use script::ScriptError;
