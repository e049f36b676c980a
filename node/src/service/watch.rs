//! `docker.swarmkit.v1.Watch`: what each transaction changed, from what this manager has applied.

use actors::{
    raft::GetCommitted,
    store::Store,
    supervision::Recipient,
    watch::{self, Error},
};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::{self, BoxStream},
};
use protocol::wire::{WatchMessage, WatchRequest, watch_server};
use tonic::{Request, Response, Status};

/// Streams changes, whether or not this manager leads.
pub struct Watch {
    store: Store,
    log: Recipient<GetCommitted>,
    /// Resolves when the daemon ends: a watch would never end by itself.
    end: Shared<BoxFuture<'static, ()>>,
}

impl Watch {
    /// Answers from this store, and from the log for what was before. Nothing ends its streams
    /// unless it is told what does.
    pub fn new(store: Store, log: Recipient<GetCommitted>) -> Self {
        Self { store, log, end: std::future::pending().boxed().shared() }
    }

    /// Ends all streams when `end` resolves.
    pub(super) fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { end: end.boxed().shared(), ..self }
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = BoxStream<'static, Result<WatchMessage, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = watch::Watch::begin(&self.store, self.log.clone(), request.get_ref());
        let watch = watch.map_err(status)?;
        // It says that everything from now on will be heard of.
        let ready = stream::once(async { Ok(WatchMessage::default()) });
        let changes = stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(error) => Some((Err(status(error)), None)),
            }
        });
        let stopping = async { Err(Status::unavailable("the manager is stopping")) };
        let stream = ready.chain(changes).take_until(self.end.clone());
        Ok(Response::new(stream.chain(stream::once(stopping)).boxed()))
    }
}

fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NoKind | Error::UnknownAction | Error::ConflictingFilters => {
            Status::invalid_argument(text)
        }
        Error::OutOfOrder | Error::Compacted => Status::unknown(text),
        Error::Behind(_) => Status::aborted(text),
        Error::Stopped => Status::unavailable(text),
    }
}
