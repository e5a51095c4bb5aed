//! Where the database is and how it is used.

use std::fmt;
use std::time::Duration;

use seaworthy_ports::Secret;

/// Names a database and how to use it. Plain values; nothing is opened. `Debug` hides the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`. `sslmode` is one of
    ///
    /// * `disable`: in plain words;
    /// * `prefer` (unless told otherwise): encrypted where the server can, in plain words where not;
    /// * `require`: encrypted, with whoever answers;
    /// * `verify-ca`: encrypted, with a server whose certificate an authority vouches for;
    /// * `verify-full`: the same, and the certificate names the URL's host.
    ///
    /// The system's authorities are trusted, and those in the file `sslrootcert`. `sslcert` and `sslkey` are files with our
    /// own certificate. What the URL leaves open is taken from libpq's environment variables.
    pub url: Secret,
    /// The schema that holds the tables, so that one database can serve several tenants; `seaworthy` unless told
    /// otherwise. A lower-case letter or `_`, then those and digits, at most 50 in all, not beginning with `pg_`.
    pub schema: String,
    /// How many connections are open at most, whatever for; ten unless told otherwise, and at least four.
    pub connections: u32,
    /// How many batches of appends may be on their way at once, each on a connection of its own; two unless told
    /// otherwise. At least one, and so many that two connections are left for everything else.
    pub append_lanes: u32,
    /// How many appends one statement takes; 256 unless told otherwise.
    pub max_batch: usize,
    /// How long a statement may take, and an append may wait for another writer of its log; ten seconds unless told
    /// otherwise. The server ends what takes longer; a server that does not even say so is given up a while later.
    pub statement_timeout: Duration,
    /// How long to wait for a connection, a free one or a new one; ten seconds unless told otherwise.
    pub acquire_timeout: Duration,
}

impl PostgresConfig {
    /// The database at `url`, with the defaults of each field.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            schema: "seaworthy".to_owned(),
            connections: 10,
            append_lanes: 2,
            max_batch: 256,
            statement_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(10),
        }
    }

    /// Keeps the tables in this schema.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Opens at most so many connections; at least four.
    #[must_use]
    pub fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Has at most so many batches of appends on their way at once; at least one.
    #[must_use]
    pub fn with_append_lanes(mut self, lanes: u32) -> Self {
        self.append_lanes = lanes;
        self
    }

    /// Sends at most so many appends in one statement; at least one.
    #[must_use]
    pub fn with_max_batch(mut self, appends: usize) -> Self {
        self.max_batch = appends;
        self
    }

    /// Ends statements that take longer; at least a millisecond.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Waits so long for a connection.
    #[must_use]
    pub fn with_acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    pub(crate) fn max_connections(&self) -> u32 {
        self.connections.max(4)
    }

    /// Two are left: one to listen on, and one for what is no append.
    pub(crate) fn lanes(&self) -> u32 {
        self.append_lanes.clamp(1, self.max_connections() - 2)
    }

    /// Whether the schema's name is one that needs no thought wherever it is written.
    pub(crate) fn has_valid_schema(&self) -> bool {
        let name = self.schema.as_str();
        name.len() <= 50
            && !name.starts_with("pg_")
            && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("url", &self.url)
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("append_lanes", &self.append_lanes)
            .field("max_batch", &self.max_batch)
            .field("statement_timeout", &self.statement_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_named_so_that_nothing_can_be_smuggled_in() {
        let named = |schema: &str| {
            PostgresConfig::new("")
                .with_schema(schema)
                .has_valid_schema()
        };
        for valid in [
            "seaworthy",
            "a",
            "_a",
            "tenant_7",
            "public",
            &"x".repeat(50),
        ] {
            assert!(named(valid), "{valid}");
        }
        for invalid in [
            "",
            "7a",
            "Tenant",
            "a-b",
            "a b",
            "a\"b",
            "a;b",
            "a\0b",
            "a.b",
            "a,b",
            "ä",
            "pg_catalog",
            &"x".repeat(51),
        ] {
            assert!(!named(invalid), "{invalid}");
        }
    }

    #[test]
    fn debug_hides_the_url() {
        let shown = format!("{:?}", PostgresConfig::new("postgres://u:canary@h/d"));
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn lanes_leave_connections_for_everything_else() {
        let lanes = |connections, lanes| {
            PostgresConfig::new("")
                .with_connections(connections)
                .with_append_lanes(lanes)
                .lanes()
        };
        assert_eq!(lanes(0, 9), 2);
        assert_eq!(lanes(10, 0), 1);
        assert_eq!(lanes(10, 20), 8);
    }
}
