//! Connections to the leader, kept for the calls that others make of this manager.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use rustls::ClientConfig;
use tokio::sync::{Mutex, oneshot::error::TryRecvError};
use tonic::transport::Channel;

use super::{
    dial::{Connection, Error, Name, dial},
    shown::Shown,
};

/// How a connection to an address is made.
pub type Dial = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Connection, Error>> + Send + Sync>;

/// What a connection is for. What is long must not stand in the way of what is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Streams.
    Streams,
    /// Calls with one request and one answer, heartbeats among them.
    Calls,
}

/// One connection to the leader for each purpose. Clones are the same ones.
#[derive(Clone)]
pub struct Lines {
    dial: Dial,
    streams: Arc<Mutex<Option<Kept>>>,
    calls: Arc<Mutex<Option<Kept>>>,
}

struct Kept {
    address: String,
    connection: Connection,
}

impl Lines {
    /// Makes connections by `dial`.
    pub fn new(dial: Dial) -> Self {
        Self { dial, streams: Arc::default(), calls: Arc::default() }
    }

    /// Makes connections as this node.
    pub fn over(tls: Arc<ClientConfig>) -> Self {
        Self::new(Arc::new(move |address| {
            let tls = tls.clone();
            async move { dial(&address, Name::Manager, tls).await }.boxed()
        }))
    }

    /// Returns the connection to an address, a new one if there is none or it has ended. The one to
    /// another address is given up, and so is one that was made with another certificate than this
    /// node has now: the leader would go by that until it leads no more. Calls on it go on.
    /// What this node has shown on it comes with it.
    pub async fn to(&self, address: &str, line: Line) -> Result<(Channel, Shown), Error> {
        let kept = match line {
            Line::Streams => &self.streams,
            Line::Calls => &self.calls,
        };
        // Whoever comes while it is being made waits for the same one.
        let mut kept = kept.lock().await;
        if let Some(Kept { address: known, connection }) = kept.as_mut()
            && known == address
            && !connection.shown.is_outdated()
            && connection.ended.try_recv() == Err(TryRecvError::Empty)
        {
            return Ok((connection.channel.clone(), connection.shown.clone()));
        }
        let connection = (self.dial)(address.to_owned()).await?;
        let found = (connection.channel.clone(), connection.shown.clone());
        *kept = Some(Kept { address: address.to_owned(), connection });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Uri;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio::{io::duplex, sync::mpsc};

    use super::*;
    use crate::{identity::Credentials, remote::speak};

    fn pair() -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["swarm-manager".to_owned()]);
        let certificate = params.expect("a name").self_signed(&key).expect("a certificate");
        (vec![certificate.der().clone()], key.into())
    }

    #[tokio::test]
    async fn a_new_certificate_is_shown_to_the_leader_on_a_new_connection() {
        let (chain, key) = pair();
        let credentials = Credentials::new(&chain, &key, &chain).expect("credentials");
        let tls = credentials.client_config().expect("a configuration");
        let dialed = Arc::new(AtomicUsize::new(0));
        let (ends, _held) = mpsc::unbounded_channel();
        let counter = dialed.clone();
        let lines = Lines::new(Arc::new(move |address| {
            let (tls, ends) = (tls.clone(), ends.clone());
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                let shown = Shown::now(&tls);
                let (end, other) = duplex(1 << 16);
                ends.send(other).expect("they are held open");
                let connection = speak(&address, Uri::from_static("http://leader:1"), end).await?;
                Ok(Connection { shown, ..connection })
            }
            .boxed()
        }));
        for _ in 0..2 {
            lines.to("leader:1", Line::Calls).await.expect("connected");
        }
        assert_eq!(dialed.load(Ordering::Relaxed), 1, "it is kept");
        let (chain, key) = pair();
        credentials.replace(&chain, &key).expect("replaced");
        for _ in 0..2 {
            lines.to("leader:1", Line::Calls).await.expect("connected");
        }
        assert_eq!(dialed.load(Ordering::Relaxed), 2, "once for each certificate");
    }
}
