//! Running other programs, with their name, their duration and what to do when they fail.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The cargo that runs this program.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A cargo command in `root`.
pub(crate) fn cargo_command<A: AsRef<OsStr>>(
    root: &Path,
    args: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(root).args(args);
    command
}

/// Runs `command` with this program's own output, and fails where it does.
pub(crate) fn execute(mut command: Command) -> Result<(), Failure> {
    let shown = shown(&command);
    let status = status(&mut command)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{shown}: {status}")))
    }
}

/// Runs `command` with this program's own output, and says what it ended with; a signal counts as in a shell.
pub(crate) fn execute_for_code(mut command: Command) -> Result<ExitCode, Failure> {
    let status = status(&mut command)?;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => signal.saturating_add(128),
        (None, None) => 1,
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The exit code of something that holds or does not.
pub(crate) fn outcome(holds: bool) -> ExitCode {
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn status(command: &mut Command) -> Result<ExitStatus, Failure> {
    command.status().map_err(|error| {
        let shown = shown(command);
        match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("{shown}: no such program")),
            _ => Failure::new(format!("{shown}: cannot be started: {error}")),
        }
    })
}

/// Whether `command` can be run and succeeds, without its output.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `body` as the step `name`: says that it begins, how it ended, how long it took and, if it failed, what to do.
pub(crate) fn step(
    name: &str,
    advice: &str,
    body: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    println!("==> {name}");
    let start = Instant::now();
    let result = body();
    let took = seconds(start.elapsed());
    match &result {
        Ok(()) => println!("<== {name}: ok, {took}"),
        Err(failure) => println!("<== {name}: FAILED, {took}\n{failure}\n{advice}"),
    }
    result
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_is_absent_is_a_failure() {
        let root = Path::new(".");
        assert!(execute(cargo_command(root, ["--version"])).is_ok());
        assert!(execute(cargo_command(root, ["no-such-subcommand"])).is_err());
        assert!(execute(Command::new("no-such-program-at-all")).is_err());
        assert!(!succeeds(Command::new("no-such-program-at-all")));
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["test", "--doc"]);
        assert_eq!(shown(&command), "cargo test --doc");
    }

    #[test]
    fn a_step_passes_the_result_of_its_body_on() {
        assert!(step("good", "", || Ok(())).is_ok());
        assert!(step("bad", "mend it", || Err(Failure::new("broken"))).is_err());
    }
}
