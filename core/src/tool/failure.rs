//! Failures of the sandbox as answers a model can learn from.

use seaworthy_ports::Effect;
use seaworthy_ports::sandbox::{Kind, SandboxError};

use super::{ToolAnswer, ToolFailure, code};

/// What may be wrong with a call before or while it touches the workspace.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing happened.
    NoEffect(ToolFailure),
    /// Something may have.
    Unknown(ToolFailure),
}

impl Trouble {
    /// The arguments do not fit.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::NoEffect(ToolFailure::new(code::INVALID, message))
    }

    /// The caller ended a call that changes nothing.
    pub(super) fn cancelled() -> Self {
        Self::NoEffect(ToolFailure::new(code::CANCELLED, "The call was cancelled."))
    }

    /// The sandbox refused `path`.
    pub(super) fn at(path: &str, error: &SandboxError) -> Self {
        Self::of(error, explain(path, error))
    }

    /// The sandbox did not run `program`.
    pub(super) fn running(program: &str, error: &SandboxError) -> Self {
        let message = match error.kind() {
            Kind::NotFound => format!(
                "{program:?} could not be started: there is no such program (or no such working directory)."
            ),
            Kind::Denied => {
                format!("{program:?} could not be started: it is not allowed; is it executable?")
            }
            _ => explain(program, error),
        };
        Self::of(error, message)
    }

    fn of(error: &SandboxError, message: String) -> Self {
        let failure = ToolFailure::new(classify(error.kind()), message);
        match error.effect() {
            Effect::None => Self::NoEffect(failure),
            Effect::Unknown => Self::Unknown(failure),
        }
    }
}

impl From<Trouble> for ToolAnswer {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoEffect(failure) => Self::FailedNoEffect(failure),
            Trouble::Unknown(failure) => Self::Failed(failure),
        }
    }
}

const fn classify(kind: Kind) -> &'static str {
    match kind {
        Kind::Outside => code::OUTSIDE,
        Kind::NotFound => code::NOT_FOUND,
        Kind::WrongType | Kind::Rejected => code::INVALID,
        Kind::Denied => code::DENIED,
        Kind::NoSpace => code::NO_SPACE,
        Kind::Fenced => code::FENCED,
        Kind::Unsupported | Kind::Unavailable => code::UNAVAILABLE,
    }
}

fn explain(path: &str, error: &SandboxError) -> String {
    match error.kind() {
        Kind::Outside => format!(
            "{path:?} leads out of the workspace. Use a path relative to the workspace, without `..`; `.` is the \
             workspace itself."
        ),
        Kind::NotFound => {
            format!("There is nothing at {path:?}. Use `list` or `glob` to see what there is.")
        }
        Kind::WrongType => format!(
            "{path:?} is another sort of thing than this tool works on. Use `list` to see whether it is a file, a \
             directory or a symbolic link."
        ),
        Kind::Denied => format!("The operating system denies access to {path:?}."),
        Kind::NoSpace => format!("There is no room left to write {path:?}."),
        Kind::Fenced => "Another worker has taken this run over.".to_owned(),
        Kind::Unsupported | Kind::Unavailable | Kind::Rejected => {
            format!("The sandbox cannot do this: {}.", error.message())
        }
    }
}
