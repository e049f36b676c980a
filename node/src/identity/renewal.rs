//! Renews this node's certificate before it ends (`cluster-security-dispatch` §6).

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actors::{
    ca::logic::{Window, renewal_backoff, renewal_seconds},
    environment::Environment,
    supervised,
    supervision::Life,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rcgen::PublicKeyData;

use super::{Chain, Error, KeyFile, Shown, authority, files::Files, load, request};

/// How often the clock is looked at: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long to wait when the certificate on the disk cannot be read.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Asks the cluster's authority.
pub trait Issuer: Send + Sync + 'static {
    /// Returns the certificate for a signing request of this node, both in PEM; or why there is
    /// none.
    fn issue(&self, csr: String) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// What the renewer works with.
#[derive(Clone)]
pub struct Ports {
    /// The folder with the identity's files.
    pub folder: PathBuf,
    /// Shows the new certificate.
    pub shown: Arc<Shown>,
    /// Issues it.
    pub issuer: Arc<dyn Issuer>,
    /// Clock and chance.
    pub environment: Environment,
}

/// The renewer. One lives as long as its node.
pub struct Renewer {
    ports: Ports,
    random: StdRng,
    /// When the certificate that there is is to be renewed, in seconds since 1970.
    due_seconds: i64,
    /// How many tries have failed in a row.
    failures: u32,
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Identity(#[from] Error),
    #[error("the authority did not issue it: {0}")]
    NotIssued(String),
    #[error("what the authority issued is not a certificate of this node for its new key")]
    Foreign,
    #[error(transparent)]
    Shown(#[from] rustls::Error),
    #[error("the new certificate could not be put in its place")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl Renewer {
    /// Returns what supervision calls for each life: it begins with the certificate on the disk.
    pub fn factory(ports: Ports) -> impl FnMut(Life) -> Self {
        move |life| {
            let random = ports.environment.entropy.fork("renewer", life.0);
            Self { ports: ports.clone(), random, due_seconds: 0, failures: 0 }
        }
    }

    /// Begins with what is on the disk, which may be newer than what is shown.
    fn load(&mut self, ctx: &mut Context<Self>) {
        let Ports { folder, shown, environment, .. } = &self.ports;
        let loaded = load(Files::new(folder), &environment.clock.now());
        let loaded = loaded.map_err(Failure::from).and_then(|identity| {
            shown.replace(&identity.chain.certificates, &identity.key_file.key)?;
            Ok(identity.chain.window)
        });
        match loaded {
            Ok(window) => self.begin(ctx, window),
            Err(failure) => {
                tracing::error!(
                    error = &failure as &dyn std::error::Error,
                    "the node's certificate cannot be read; tries again"
                );
                ctx.run_later(LOAD_AGAIN_AFTER, Self::load);
            }
        }
    }

    fn now(&self) -> i64 {
        self.ports.environment.clock.now().seconds
    }

    /// Waits until the certificate is due.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let left = self.due_seconds.saturating_sub(self.now());
        match u64::try_from(left) {
            Ok(left @ 1..) => {
                ctx.run_later(Duration::from_secs(left).min(LOOK_EVERY), Self::look);
            }
            Ok(0) | Err(_) => self.renew(ctx),
        }
    }

    fn renew(&mut self, ctx: &mut Context<Self>) {
        let renewed = renewed(self.ports.clone()).into_actor(self);
        ctx.spawn(renewed.map(|renewed, renewer, ctx| match renewed {
            Ok(window) => {
                tracing::info!(until = window.not_after_seconds, "certificate renewed");
                renewer.failures = 0;
                renewer.begin(ctx, window);
            }
            Err(failure) => {
                renewer.failures = renewer.failures.saturating_add(1);
                let pause = renewal_backoff(renewer.failures, &mut renewer.random);
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    ?pause,
                    "the node's certificate was not renewed; tries again"
                );
                ctx.run_later(pause, Self::renew);
            }
        }));
    }

    fn begin(&mut self, ctx: &mut Context<Self>, window: Window) {
        self.due_seconds = renewal_seconds(window, &mut self.random);
        self.look(ctx);
    }
}

impl Actor for Renewer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(ctx);
    }
}

supervised!(Renewer, mailbox = 1);

/// Gets a certificate for a new key, puts both on the disk, and shows them.
async fn renewed(ports: Ports) -> Result<Window, Failure> {
    let Ports { folder, shown, issuer, environment } = ports;
    let key = authority::generate_key().map_err(Error::from)?;
    let csr = request::signing_request(&key).map_err(Error::from)?;
    let issued = issuer.issue(csr).await.map_err(Failure::NotIssued)?;
    let chain = Chain::parse(&issued).map_err(|_| Failure::Foreign)?;
    let now = environment.clock.now();
    // Files are synced, which must not hold up whoever shares this thread.
    let installed = tokio::task::spawn_blocking(move || {
        let files = Files::new(&folder);
        let before = load(files.clone(), &now)?;
        let is_ours = chain.public_key == key.subject_public_key_info()
            && chain.subject.node_id == before.chain.subject.node_id
            && chain.verify(before.root_pem.as_bytes(), &now).is_ok();
        if !is_ours {
            return Err(Failure::Foreign);
        }
        let key_file = KeyFile { key: key.into(), ..before.key_file };
        let path = files.key_path();
        files
            .write_pair(&issued, key_file.encode().as_bytes())
            .map_err(|source| Error::File { path, source })?;
        shown.replace(&chain.certificates, &key_file.key)?;
        Ok(chain.window)
    });
    installed.await?
}
