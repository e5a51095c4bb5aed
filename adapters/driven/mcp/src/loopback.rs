//! A person's browser, sent back to this machine (RFC 8252).

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{Kind, McpError, OAuthPerson};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::ADAPTER;

/// Where the browser is sent back to.
const PATH: &str = "/callback";
/// The most bytes of what it says, and how long it may take to say it.
const MOST_BYTES: usize = 32 * 1024;
const LONGEST_SAYING: Duration = Duration::from_secs(10);
/// The most that are heard at once.
const MOST_VISITS: usize = 32;

/// Shows an address to a person.
type Show = Arc<dyn Fn(&str) + Send + Sync>;

/// Asks the person at this machine: shows an address, and waits at a port of 127.0.0.1 until their browser comes back.
pub struct Loopback {
    listener: TcpListener,
    port: u16,
    show: Show,
    /// How long a connection is heard.
    longest: Duration,
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Loopback {
    /// Listens at `port`, 0 for any that is free. `show` is given the address that the person has to open.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] where the port is taken.
    pub async fn listen(
        port: u16,
        show: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, McpError> {
        let taken = |_error| {
            let why = "no port of this machine could be listened at";
            McpError::new(Kind::Unavailable, ADAPTER, "listen", why)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        Ok(Self {
            listener,
            port,
            show: Arc::new(show),
            longest: LONGEST_SAYING,
        })
    }
}

#[async_trait]
impl OAuthPerson for Loopback {
    fn redirect(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    async fn ask(&self, address: &str) -> Result<Secret, McpError> {
        (self.show)(address);
        let mark = mark(address);
        let mut visits = JoinSet::new();
        loop {
            // Browsers ask for icons too, and open connections that they say nothing on.
            tokio::select! {
                accepted = self.listener.accept(), if visits.len() < MOST_VISITS => {
                    let Ok((connection, _peer)) = accepted else {
                        // Too many files are open; others will be closed.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    let (port, mark) = (self.port, mark.clone());
                    visits.spawn(timeout(self.longest, back(connection, port, mark)));
                }
                Some(visited) = visits.join_next() => {
                    if let Ok(Ok(Some(query))) = visited {
                        return Ok(query);
                    }
                }
            }
        }
    }
}

/// The mark by which the answer to the question at `address` is known, if it has one.
fn mark(address: &str) -> Option<Secret> {
    let url = Url::parse(address).ok()?;
    let mut pairs = url.query_pairs();
    let (_name, mark) = pairs.find(|(name, _value)| name == "state")?;
    Some(Secret::new(mark.into_owned()))
}

/// The query of whoever came back, who is told to go.
async fn back(mut connection: TcpStream, port: u16, mark: Option<Secret>) -> Option<Secret> {
    let mut said = Vec::new();
    while !said.windows(4).any(|four| four == b"\r\n\r\n") {
        let is_over = connection.read_buf(&mut said).await.unwrap_or(0) == 0;
        if is_over || said.len() > MOST_BYTES {
            return None;
        }
    }
    let query = query(&said, port, mark.as_ref());
    let (status, text) = match query {
        Some(_) => (
            "200 OK",
            "You can close this page and go back to the terminal.",
        ),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nreferrer-policy: \
         no-referrer\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whoever has gone has said what they had to.
    let _gone = connection.write_all(answer.as_bytes()).await;
    let _gone = connection.shutdown().await;
    query
}

/// The query of a request that is for this place.
fn query(said: &[u8], port: u16, mark: Option<&Secret>) -> Option<Secret> {
    let said = std::str::from_utf8(said).ok()?;
    let mut lines = said.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let hosts = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then_some(value.trim())
    });
    // A page elsewhere that has its own name lead here is not the person's browser coming back.
    let is_here = hosts.eq([format!("127.0.0.1:{port}").as_str()]);
    let (path, query) = target.split_once('?')?;
    let is_back = method == "GET" && path == PATH && is_here;
    // What does not hold the mark is no answer to this question: any page can send a browser here.
    let mut url = Url::parse("http://back/").ok()?;
    url.set_query(Some(query));
    let has_mark = url
        .query_pairs()
        .any(|(name, value)| name == "state" && mark.is_none_or(|mark| mark.expose() == value));
    (is_back && has_mark).then(|| Secret::new(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_browser_that_comes_back_is_heard() {
        let host = "host: 127.0.0.1:7\r\n\r\n";
        let good = format!("GET /callback?state=a&code=b HTTP/1.1\r\n{host}");
        assert_eq!(
            query(good.as_bytes(), 7, Some(&Secret::new("a"))),
            Some(Secret::new("state=a&code=b"))
        );
        for (from, to) in [
            ("GET", "POST"),
            ("/callback", "/favicon.ico"),
            ("?state", "?mate"),
            ("?state=a", "?state=b"),
            ("?state=a&code=b", ""),
            ("127.0.0.1:7", "evil.example:7"),
            ("127.0.0.1:7", "127.0.0.1:8"),
            ("host:", "most:"),
        ] {
            let other = good.replacen(from, to, 1);
            let heard = query(other.as_bytes(), 7, Some(&Secret::new("a")));
            assert_eq!(heard, None, "{other}");
        }
    }

    #[tokio::test]
    async fn others_are_sent_away_until_the_browser_comes_back() {
        let (shown, seen) = std::sync::mpsc::channel();
        let person = Loopback::listen(0, move |address: &str| {
            let _gone = shown.send(address.to_owned());
        })
        .await
        .unwrap();
        let redirect = person.redirect();
        let place = redirect
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix(PATH))
            .unwrap()
            .to_owned();
        let visit = tokio::spawn(async move {
            // One that says nothing keeps nobody out.
            let _silent = TcpStream::connect(&place).await.unwrap();
            let mut statuses = Vec::new();
            for target in [
                "/favicon.ico",
                "/callback?code=x",
                "/callback?state=x&code=b",
                "/callback?state=a%20&code=b",
            ] {
                let mut connection = TcpStream::connect(&place).await.unwrap();
                let asked = format!("GET {target} HTTP/1.1\r\nHost: {place}\r\n\r\n");
                connection.write_all(asked.as_bytes()).await.unwrap();
                let mut answer = String::new();
                connection.read_to_string(&mut answer).await.unwrap();
                statuses.push(answer.split(' ').nth(1).unwrap().to_owned());
            }
            statuses
        });
        let address = "https://as.example/authorize?state=a+&scope=x";
        let query = timeout(LONGEST_SAYING / 2, person.ask(address)).await;
        assert_eq!(query.unwrap().unwrap().expose(), "state=a%20&code=b");
        assert_eq!(seen.recv().unwrap(), address);
        assert_eq!(visit.await.unwrap(), ["404", "404", "404", "200"]);
        assert!(!format!("{person:?}").contains("as.example"));
    }

    #[tokio::test]
    async fn whoever_says_too_much_is_cut_off() {
        let person = Loopback::listen(0, |_address: &str| {}).await.unwrap();
        let place = format!("127.0.0.1:{}", person.port);
        let waiting = tokio::spawn(async move { person.ask("https://as.example/").await });
        let mut connection = TcpStream::connect(&place).await.unwrap();
        let much = vec![b'x'; MOST_BYTES + 1];
        connection.write_all(&much).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(LONGEST_SAYING / 2, connection.read_to_end(&mut answer)).await;
        assert!(end.is_ok() && answer.is_empty());
        waiting.abort();
    }

    #[tokio::test]
    async fn those_who_say_nothing_are_not_waited_for() {
        let mut person = Loopback::listen(0, |_address: &str| {}).await.unwrap();
        person.longest = Duration::from_millis(50);
        let place = format!("127.0.0.1:{}", person.port);
        let waiting = tokio::spawn(async move { person.ask("https://as.example/").await });
        let mut silent = Vec::new();
        for _visit in 0..=MOST_VISITS {
            silent.push(TcpStream::connect(&place).await.unwrap());
        }
        let mut browser = TcpStream::connect(&place).await.unwrap();
        let asked = format!("GET {PATH}?state=a HTTP/1.1\r\nHost: {place}\r\n\r\n");
        browser.write_all(asked.as_bytes()).await.unwrap();
        let query = timeout(LONGEST_SAYING / 2, waiting).await;
        assert_eq!(query.unwrap().unwrap().unwrap().expose(), "state=a");
    }
}
