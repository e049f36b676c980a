//! An answer of the leader on its way to the caller. It always ends with a status, also when the
//! leader does not.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::Frame;
use tonic::{ConnectError, Status, body::Body};

/// Resolves when an answer is no longer waited for, with how it ends then.
pub(super) type GivesUp = BoxFuture<'static, Status>;

/// The body of an answer.
pub(super) struct Passage {
    body: Body,
    gives_up: GivesUp,
    /// How it ends if the leader is lost; none when it has ended.
    lost: Option<Status>,
}

impl Passage {
    /// Passes on what comes until its end, until a fault, or until `gives_up` resolves.
    pub(super) fn new(body: Body, gives_up: GivesUp, lost: Status) -> Self {
        Self { body, gives_up, lost: Some(lost) }
    }

    fn end(&mut self, with: Option<Status>) -> Option<Frame<Bytes>> {
        let mut trailers = HeaderMap::new();
        let lost = self.lost.take()?;
        with.unwrap_or(lost).add_header(&mut trailers).expect("a status of ours fits into headers");
        Some(Frame::trailers(trailers))
    }
}

impl http_body::Body for Passage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.lost.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = self.gives_up.as_mut().poll(context) {
            return Poll::Ready(self.end(Some(status)).map(Ok));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    self.lost = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "lost the leader in the middle of an answer");
                Poll::Ready(self.end(None).map(Ok))
            }
            None => Poll::Ready(self.end(None).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lost.is_none()
    }
}

/// Whether a fault shows that the leader never got a request: no connection was made, it ended
/// before the request went out, or the leader said that it would not look at it.
pub(super) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let never_sent =
            error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        let refused = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        });
        if error.is::<ConnectError>() || never_sent || refused {
            return true;
        }
        cause = error.source();
    }
    false
}
