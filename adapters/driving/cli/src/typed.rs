//! What somebody types, line by line.

use std::io::{BufRead as _, Read as _, stdin};

use crate::error::CliError;
use crate::stop::Stop;

/// The most bytes of a line.
pub(crate) const MAX_LINE: u64 = 1024 * 1024;

/// What came of waiting for a line.
pub(crate) enum Typed {
    /// A line, without its end.
    Line(String),
    /// There are no more.
    End,
    /// The process was asked to stop first.
    Stopped,
}

/// The next line of standard input.
pub(crate) async fn typed(stop: &Stop) -> Result<Typed, CliError> {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = Vec::new();
        stdin()
            .lock()
            .take(MAX_LINE.saturating_add(1))
            .read_until(b'\n', &mut line)
            .map(|_read| line)
    });
    let line = tokio::select! {
        line = line => line,
        () = stop.latch.wait() => return Ok(Typed::Stopped),
    };
    let line = line
        .map_err(|error| CliError::io("read a line", std::io::Error::other(error)))?
        .map_err(|source| CliError::io("read standard input", source))?;
    if line.is_empty() {
        return Ok(Typed::End);
    }
    if line.len() as u64 > MAX_LINE {
        return Err(CliError::Usage(format!(
            "standard input: a line has more than {MAX_LINE} bytes"
        )));
    }
    let text = String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::Usage(format!("standard input: a line is not UTF-8 (byte {at})"))
    })?;
    Ok(Typed::Line(text.trim_end_matches(['\r', '\n']).to_owned()))
}
