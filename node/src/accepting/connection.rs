//! One connection, from its first byte to the start of HTTP/2.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};
use tonic::transport::server::Connected;

use crate::through::{reads_through, writes_through};

/// The first byte of every TLS handshake, and of nothing that HTTP/2 begins with.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has shown that it speaks HTTP/2.
pub struct Connection<I> {
    stream: Box<dyn Duplex>,
    info: I,
    room: Vec<OwnedSemaphorePermit>,
}

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl<I> Connection<I> {
    /// Waits until the client of a stream has begun HTTP/2; `read` is what was read of it.
    ///
    /// The server behind would wait for that beginning without a limit, so it is read here,
    /// where the caller sets one.
    pub(crate) async fn begin(
        read: Vec<u8>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        info: I,
        room: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let stream = Box::new(after_preface(read, stream).await?);
        Ok(Self { stream, info, room: vec![room] })
    }

    /// Holds a place of another kind as well, for as long as it is open.
    pub(crate) fn holding(mut self, room: OwnedSemaphorePermit) -> Self {
        self.room.push(room);
        self
    }
}

/// Reads what HTTP/2 begins with, and hands the stream on as if nothing had been read.
async fn after_preface<S: AsyncRead + Unpin>(
    mut read: Vec<u8>,
    mut stream: S,
) -> io::Result<Replayed<S>> {
    while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
        let missing = u64::try_from(PREFACE.len() - read.len()).expect("a few bytes");
        if (&mut stream).take(missing).read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if read != PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
    }
    Ok(Replayed::new(read, stream))
}

impl<I: Clone + Send + Sync + 'static> Connected for Connection<I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

reads_through!([I: Unpin] Connection<I>, stream);
writes_through!([I: Unpin] Connection<I>, stream);

/// A stream of which something has been read, which is read once more.
pub(crate) struct Replayed<S> {
    head: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Replayed<S> {
    pub(crate) fn new(head: Vec<u8>, stream: S) -> Self {
        Self { head, given: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.head[self.given..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

writes_through!([S: AsyncWrite + Unpin] Replayed<S>, stream);

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What comes through of these bytes; nothing when they do not begin as HTTP/2 does.
    fn through(first: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("one");
        runtime.block_on(async {
            let (read, rest) = bytes.split_at(first.min(bytes.len()));
            let mut stream = after_preface(read.to_vec(), rest).await.ok()?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok()?;
            Some(all)
        })
    }

    proptest! {
        #[test]
        fn only_what_begins_as_http2_comes_through_and_then_all_of_it(
            kept in 0..=PREFACE.len(), behind in vec(any::<u8>(), 0..64),
        ) {
            let bytes = [&PREFACE[..kept], &behind].concat();
            let expected = bytes.starts_with(PREFACE).then(|| bytes.clone());
            prop_assert_eq!(&through(1, &bytes), &expected);
            prop_assert_eq!(through(0, &bytes), expected);
            prop_assert_eq!(through(1, &behind), None, "few bytes are no beginning by chance");
        }
    }
}
