//! Connections that can be cut all at once. A server lets go of those that do not end in time, but
//! its library runs each in a task of its own, which would go on.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt, Stream, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::End;
use crate::through::writes_through;

/// A connection of a server.
pub(super) struct Held<C> {
    connection: C,
    /// Resolves when the connection is to be no more.
    cut: Option<End>,
}

/// Holds what comes in until `cut`.
pub(super) fn held<C, E>(
    incoming: impl Stream<Item = Result<C, E>>,
    cut: End,
) -> impl Stream<Item = Result<Held<C>, E>> {
    incoming.map_ok(move |connection| Held { connection, cut: Some(cut.clone()) })
}

impl<C> Held<C> {
    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        if self.cut.as_mut().is_some_and(|cut| cut.poll_unpin(context).is_ready()) {
            self.cut = None;
        }
        self.cut.is_none()
    }
}

impl<C: Connected> Connected for Held<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> C::ConnectInfo {
        self.connection.connect_info()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Held<C> {
    /// Whoever serves a connection always waits for more of it, so it hears of the cut.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        if read.is_pending() && self.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

writes_through!([C: AsyncWrite + Unpin] Held<C>, connection);
