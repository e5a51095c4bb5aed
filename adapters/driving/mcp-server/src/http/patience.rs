//! A connection whose client has to take what it is sent: one that does not would keep its place for as long as it likes.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream that breaks once its other end has taken nothing for a while.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    /// When that is, while something waits to be taken.
    ends: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            ends: None,
        }
    }

    fn with<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.ends = None;
            return polled;
        }
        let limit = self.limit;
        let ends = self
            .ends
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ends.as_mut()
            .poll(context)
            .map(|()| Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.with(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.with(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.with(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.with(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn whoever_takes_nothing_is_left() {
        let (ours, theirs) = tokio::io::duplex(4);
        let mut stream = Patience::new(ours, Duration::ZERO);
        stream.write_all(b"fits").await.unwrap();
        let error = stream.write_all(b"does not").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(theirs);
    }

    #[tokio::test]
    async fn whoever_takes_a_little_gets_all_of_it() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = Patience::new(ours, Duration::from_secs(100));
        let writing = async {
            stream
                .write_all(b"all of it, in small pieces")
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
            assert!(stream.ends.is_none());
        };
        let mut taken = String::new();
        let (read, ()) =
            futures_util::future::join(theirs.read_to_string(&mut taken), writing).await;
        assert_eq!(
            (read.unwrap(), taken.as_str()),
            (26, "all of it, in small pieces")
        );
    }
}
