//! The URL of a PostgreSQL database: what of it may be shown, and what it names.

use std::fmt;

use seaworthy::ports::Secret;

/// The schema unless the URL names another.
const SCHEMA: &str = "seaworthy";
/// The parameter that names the schema. It is this program's; everything else is the driver's.
const SCHEMA_PARAMETER: &str = "schema";
/// Parameters whose values nobody may see.
const SECRET_PARAMETERS: [&str; 2] = ["password", "sslpassword"];
const HIDDEN: &str = "***";

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME&…`. What can be seen of it has no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    /// For the driver: with the password, without the schema.
    url: Secret,
    schema: String,
    shown: String,
    identity: String,
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A URL in its parts, of which none is checked: the driver does that.
struct Parts<'a> {
    scheme: &'a str,
    /// `USER:PASSWORD`.
    user: Option<&'a str>,
    /// `HOST:PORT`.
    host: &'a str,
    database: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return None;
        }
        // A password may have what it should not have, unescaped. The last @ before the parameters ends it, if there is one.
        let (before, query) = match rest.split_once('?') {
            Some((before, query)) if !query.contains('@') => (before, query),
            _ => match rest.rsplit_once('@') {
                Some((user, place)) => {
                    let (place, query) = place.split_once('?').unwrap_or((place, ""));
                    (rest.get(..user.len() + 1 + place.len())?, query)
                }
                None => rest.split_once('?').unwrap_or((rest, "")),
            },
        };
        let (user, place) = match before.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, before),
        };
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let parameters = query
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .collect();
        Some(Self {
            scheme,
            user,
            host,
            database,
            parameters,
        })
    }

    /// The URL again, each parameter as `value` has it, or without it.
    fn url<'b>(
        &self,
        user: Option<&str>,
        value: impl Fn(&'a str, &'a str) -> Option<&'b str>,
    ) -> String
    where
        'a: 'b,
    {
        let mut url = format!("{}://", self.scheme);
        if let Some(user) = user {
            url.push_str(user);
            url.push('@');
        }
        url.push_str(self.host);
        if !self.database.is_empty() {
            url.push('/');
            url.push_str(self.database);
        }
        let mut sign = '?';
        for (name, text) in &self.parameters {
            if let Some(text) = value(name, text) {
                url.push(sign);
                url.push_str(name);
                url.push('=');
                url.push_str(text);
                sign = '&';
            }
        }
        url
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .iter()
            .find_map(|(found, value)| (*found == name).then_some(*value))
    }
}

impl PostgresUrl {
    /// The URL, unless it is of something else.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let parts = Parts::of(url)?;
        let schema = parts.parameter(SCHEMA_PARAMETER).unwrap_or(SCHEMA);
        let for_driver = parts.url(parts.user, |name, value| {
            (name != SCHEMA_PARAMETER).then_some(value)
        });
        let masked = parts.user.map(|user| match user.split_once(':') {
            Some((name, _password)) => format!("{name}:{HIDDEN}"),
            None => user.to_owned(),
        });
        let shown = parts.url(masked.as_deref(), |name, value| {
            Some(if SECRET_PARAMETERS.contains(&name) {
                HIDDEN
            } else {
                value
            })
        });
        Some(Self {
            identity: identity(&parts, schema),
            schema: schema.to_owned(),
            url: Secret::new(for_driver),
            shown,
        })
    }

    /// What the driver is given. It may hold a password.
    pub(crate) const fn for_driver(&self) -> &Secret {
        &self.url
    }

    /// The schema that holds the tables.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The server, database and schema as the name of a folder, alike however this machine is called.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }
}

fn identity(parts: &Parts<'_>, schema: &str) -> String {
    let host = parts.parameter("host").unwrap_or(parts.host);
    // The colon of an address in brackets is none of a port.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (host, ""),
    };
    let port = parts.parameter("port").unwrap_or(port);
    let host = match host {
        "" | "127.0.0.1" | "[::1]" => "localhost",
        other => other,
    };
    let port = if port.is_empty() { "5432" } else { port };
    let database = parts.parameter("dbname").unwrap_or(parts.database);
    [host, port, database, schema]
        .map(|part| {
            part.chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        '_'
                    }
                })
                .collect::<String>()
        })
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).unwrap()
    }

    #[test]
    fn what_is_shown_has_no_password_however_odd_it_is() {
        for password in [
            "secret",
            "sec@ret",
            "se/cr@et",
            "s?cr@et",
            "a:secret",
            "%40secret",
        ] {
            let text = format!("postgres://me:{password}@db.example:5433/app?sslmode=require");
            let url = url(&text);
            assert_eq!(
                url.to_string(),
                "postgres://me:***@db.example:5433/app?sslmode=require",
                "{password}"
            );
            assert_eq!(format!("{url:?}"), url.to_string());
            assert_eq!(url.for_driver().expose(), text);
        }
        let shown = url("postgres://db/app?password=secret&user=me").to_string();
        assert_eq!(shown, "postgres://db/app?password=***&user=me");
        assert_eq!(url("postgresql://me@db").to_string(), "postgresql://me@db");
    }

    #[test]
    fn the_schema_is_taken_out_of_what_the_driver_gets() {
        let named = url("postgres://me@db/app?schema=tenant&sslmode=require");
        assert_eq!(named.schema(), "tenant");
        assert_eq!(
            named.for_driver().expose(),
            "postgres://me@db/app?sslmode=require"
        );
        assert_eq!(
            named.to_string(),
            "postgres://me@db/app?schema=tenant&sslmode=require"
        );
        assert_eq!(url("postgres://db/app").schema(), SCHEMA);
    }

    #[test]
    fn one_database_has_one_name_on_a_machine() {
        let names = [
            "postgres://me:a@127.0.0.1/app",
            "postgres://you@localhost:5432/app?sslmode=disable",
            "postgresql:///app",
            "postgres://[::1]:5432/app?schema=seaworthy",
        ]
        .map(|text| url(text).identity().to_owned());
        assert!(
            names
                .iter()
                .all(|name| name == "localhost-5432-app-seaworthy"),
            "{names:?}"
        );
        assert_ne!(
            url("postgres://db/app").identity(),
            url("postgres://db/app?schema=b").identity()
        );
        assert_eq!(
            url("postgres://DB.x:1/../a").identity(),
            "db_x-1-___a-seaworthy"
        );
    }

    #[test]
    fn other_urls_are_not_taken() {
        for other in ["postgres:x", "mysql://db", "postgres", ""] {
            assert!(PostgresUrl::parse(other).is_none(), "{other}");
        }
    }
}
