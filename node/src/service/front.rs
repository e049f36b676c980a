//! What every call passes before a service answers it: who calls is found out, calls that only the
//! leader answers go there, and the others are judged here.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use super::{
    access::Access,
    proxy::{Proxy, Way},
};

/// The layer around all services of one door.
#[derive(Clone)]
pub struct Front(Arc<Parts>);

struct Parts {
    access: Access,
    proxy: Option<Proxy>,
}

impl Front {
    /// Judges calls by `access`. Without a proxy all are answered here, whoever leads.
    pub fn new(access: Access, proxy: Option<Proxy>) -> Self {
        Self(Arc::new(Parts { access, proxy }))
    }
}

impl Parts {
    /// Answers a call with `services`, or says what has become of it elsewhere. The leader judges what is
    /// passed on to it; others may know less than it does.
    async fn answer<S>(
        &self,
        mut services: S,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let arrival = match self.access.receive(&mut request) {
            Ok(arrival) => arrival,
            Err(status) => return Ok(status.into_http()),
        };
        let proxy = self.proxy.as_ref().filter(|_| arrival.rpc.leader);
        let mut way = match proxy {
            Some(proxy) => proxy.pass(&self.access, &arrival, request).await,
            None => Way::Here(request, None),
        };
        loop {
            let (mut request, kept) = match way {
                Way::Here(request, kept) => (request, kept),
                Way::Answered(response) => return Ok(response),
            };
            if let Err(status) = self.access.admit(&arrival, &mut request) {
                return Ok(status.into_http());
            }
            services.ready().await?;
            let response = services.call(request).await?;
            let (Some(proxy), Some(kept)) = (proxy, kept) else { return Ok(response) };
            way = match proxy.again(&arrival, kept, response).await {
                Ok(way) => way,
                Err(response) => return Ok(response),
            };
        }
    }
}

impl<S> Layer<S> for Front {
    type Service = Fronted<S>;

    fn layer(&self, services: S) -> Fronted<S> {
        Fronted { front: self.clone(), services }
    }
}

/// Services behind a front.
#[derive(Clone)]
pub struct Fronted<S> {
    front: Front,
    services: S,
}

impl<S> Service<Request<Body>> for Fronted<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone may not be ready, and what was polled is.
        let clone = self.services.clone();
        let services = std::mem::replace(&mut self.services, clone);
        let front = self.front.clone();
        async move { front.0.answer(services, request).await }.boxed()
    }
}
