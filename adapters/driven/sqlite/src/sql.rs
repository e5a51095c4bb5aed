//! Statements that are prepared once for each connection.

use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row};

/// Executes a statement. Returns how many rows it changed.
pub(crate) fn execute(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
) -> Result<usize> {
    connection.prepare_cached(statement)?.execute(parameters)
}

/// The first row of the answer.
pub(crate) fn one<T>(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    decode: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<T> {
    connection
        .prepare_cached(statement)?
        .query_row(parameters, decode)
}

/// The first row of the answer, if there is one.
pub(crate) fn one_if_any<T>(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    decode: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    one(connection, statement, parameters, decode).optional()
}

/// All rows of the answer, which the statement bounds.
pub(crate) fn all<T>(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
    decode: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(statement)?
        .query_map(parameters, decode)?
        .collect()
}
