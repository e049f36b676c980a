//! `docker.swarmkit.v1.Watch`: what each transaction changed, from what this manager has applied.

use actors::{
    raft::GetCommitted,
    store::Store,
    supervision::Recipient,
    watch::{self, Error},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use protocol::wire::{WatchMessage, WatchRequest, watch_server};
use tonic::{Request, Response, Status};

use super::{End, status::stopping};

/// Streams changes, whether or not this manager leads.
#[derive(Clone)]
pub struct Watch {
    store: Store,
    log: Recipient<GetCommitted>,
    /// Resolves when the daemon ends: a watch would never end by itself.
    end: End,
}

impl Watch {
    /// Answers from this store, and from the log for what was before. All streams end with `end`.
    pub fn new(store: Store, log: Recipient<GetCommitted>, end: End) -> Self {
        Self { store, log, end }
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
        let stopping = async { Err(stopping()) };
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
