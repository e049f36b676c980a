//! Renews this node's certificate before it ends (`cluster-security-dispatch` §6).

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use actors::{
    ca::logic::{Window, renewal_backoff, renewal_seconds},
    environment::Environment,
    supervised,
    supervision::Life,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::wire::NodeRole;
use rand::rngs::StdRng;
use rcgen::PublicKeyData;
use rustls::CertificateError;
use tokio::sync::watch;

use super::{
    Chain, Credentials, Error, Identity, Invalid, KeyFile, authority, certificates, files::Files,
    load, request,
};

/// How often the clock is looked at: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long to wait before a renewal that somebody wants: what they have changed is settled then.
const FORCED_AFTER: Duration = Duration::from_millis(500);

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
    pub credentials: Arc<Credentials>,
    /// Issues it.
    pub issuer: Arc<dyn Issuer>,
    /// Hears what the certificate says that this node is.
    pub role: watch::Sender<NodeRole>,
    /// Clock and chance.
    pub environment: Environment,
}

/// Renew now, whenever the certificate ends.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Renew;

/// What the cluster says of this node. A certificate that says another role is renewed until one
/// says this.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Named {
    /// What the node is.
    pub role: NodeRole,
    /// Whether it is to get another certificate whatever its own says.
    pub rotates: bool,
}

/// Trust the roots of this bundle, if they stand behind this node's own certificate: what a manager
/// says may be old.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Trust {
    /// The bundle, in PEM.
    pub root_pem: Bytes,
}

/// The renewer. One lives as long as its node.
pub struct Renewer {
    ports: Ports,
    random: StdRng,
    /// When the certificate that there is is to be renewed, in seconds since 1970.
    due_seconds: i64,
    /// When it ends.
    ends_seconds: i64,
    /// How many tries have failed in a row.
    failures: u32,
    /// What the next certificate has to say.
    expected: Option<NodeRole>,
    /// A try is on its way.
    trying: bool,
    /// Another is wanted at once after it.
    again: bool,
    /// What waits for its time; one thing at most.
    next: Option<SpawnHandle>,
    /// Roots that a manager has named last, and that could not be trusted yet.
    not_trusted: Option<Bytes>,
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Identity(#[from] Error),
    #[error("the authority did not issue it: {0}")]
    NotIssued(String),
    #[error("what the authority issued is not a certificate of this node for its new key")]
    Foreign,
    #[error(
        "the authority has another root than this node trusts: the node learns it from a manager's \
         session, or has to join again"
    )]
    AnotherRoot,
    #[error("what the authority issued is not valid here")]
    Unfit(#[source] Invalid),
    #[error("they do not stand behind this node's certificate")]
    Stranger,
    #[error("the new certificate says {role:?}, and this node is to be {expected:?}")]
    AnotherRole { expected: NodeRole, role: NodeRole },
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
            Self {
                ports: ports.clone(),
                random,
                due_seconds: 0,
                ends_seconds: 0,
                failures: 0,
                expected: None,
                trying: false,
                again: false,
                next: None,
                not_trusted: None,
            }
        }
    }

    /// Begins with what is on the disk, which may be newer than what is shown.
    fn load(&mut self, ctx: &mut Context<Self>) {
        let Ports { folder, credentials, environment, .. } = &self.ports;
        let loaded = load(Files::new(folder), &environment.clock.now());
        let loaded = loaded.map_err(Failure::from).and_then(|identity| {
            credentials.replace(&identity.chain.certificates, &identity.key_file.key)?;
            Ok(identity.chain)
        });
        match loaded {
            Ok(Chain { window, subject, .. }) => {
                self.tell(subject.role);
                self.begin(ctx, window);
            }
            Err(failure) => {
                tracing::error!(
                    error = &failure as &dyn std::error::Error,
                    "the node's certificate cannot be read; tries again"
                );
                self.later(ctx, LOAD_AGAIN_AFTER, Self::load);
            }
        }
    }

    fn now(&self) -> i64 {
        self.ports.environment.clock.now().seconds
    }

    /// Does something after a while, in the place of what waits.
    fn later(
        &mut self,
        ctx: &mut Context<Self>,
        after: Duration,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let next = ctx.run_later(after, then);
        if let Some(before) = self.next.replace(next) {
            ctx.cancel_future(before);
        }
    }

    /// Renews soon; `again`, also when a try is on its way.
    fn force(&mut self, ctx: &mut Context<Self>, again: bool) {
        if self.trying {
            self.again |= again;
        } else {
            self.later(ctx, FORCED_AFTER, Self::renew);
        }
    }

    /// Says what this node is now.
    fn tell(&self, role: NodeRole) {
        self.ports.role.send_if_modified(|told| std::mem::replace(told, role) != role);
    }

    /// Waits until the certificate is due.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let left = self.due_seconds.saturating_sub(self.now());
        match u64::try_from(left) {
            Ok(left @ 1..) => {
                self.later(ctx, Duration::from_secs(left).min(LOOK_EVERY), Self::look);
            }
            Ok(0) | Err(_) => self.renew(ctx),
        }
    }

    fn renew(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.trying, true) {
            return;
        }
        let renewed = renewed(self.ports.clone()).into_actor(self);
        ctx.spawn(renewed.map(|renewed, renewer, ctx| renewer.tried(ctx, renewed)));
    }

    fn tried(&mut self, ctx: &mut Context<Self>, renewed: Result<(Window, NodeRole), Failure>) {
        self.trying = false;
        let renewed = renewed.and_then(|(window, role)| {
            tracing::info!(until = window.not_after_seconds, ?role, "certificate renewed");
            self.tell(role);
            self.ends_seconds = window.not_after_seconds;
            match self.expected.filter(|expected| *expected != role) {
                Some(expected) => Err(Failure::AnotherRole { expected, role }),
                None => Ok(window),
            }
        });
        match renewed {
            Ok(_) if self.again => {
                self.again = false;
                self.later(ctx, FORCED_AFTER, Self::renew);
            }
            Ok(window) => {
                (self.failures, self.expected) = (0, None);
                self.begin(ctx, window);
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                let left_seconds = self.ends_seconds.saturating_sub(self.now());
                let is_awaited = self.expected.is_some();
                let pause =
                    renewal_backoff(self.failures, left_seconds, is_awaited, &mut self.random);
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    ?pause,
                    "the node's certificate was not renewed; tries again"
                );
                self.try_again(ctx, pause);
            }
        }
    }

    /// Renews after a pause, or as soon as it is seen that the certificate has ended.
    fn try_again(&mut self, ctx: &mut Context<Self>, pause: Duration) {
        let step = pause.min(LOOK_EVERY);
        self.later(ctx, step, move |renewer, ctx| {
            let left = pause - step;
            if left.is_zero() || renewer.ends_seconds < renewer.now() {
                renewer.renew(ctx);
            } else {
                renewer.try_again(ctx, left);
            }
        });
    }

    /// Trusts roots, or tries again later: a manager names them only once, and a disk that was full may
    /// have room then, or the certificate be one for which they stand.
    fn trust(&mut self, ctx: &mut Context<Self>, root_pem: Bytes) {
        let trusted = trusted(self.ports.clone(), root_pem.clone()).into_actor(self);
        // Two at a time could end in either order.
        ctx.wait(trusted.map(|trusted, renewer, ctx| match trusted {
            Ok(true) => {
                renewer.not_trusted = None;
                tracing::info!("the cluster's roots have changed");
            }
            Ok(false) => renewer.not_trusted = None,
            Err(failure) => {
                let is_known = renewer.not_trusted.replace(root_pem.clone()).is_some();
                if !is_known {
                    tracing::warn!(
                        error = &failure as &dyn std::error::Error,
                        "the roots that a manager names are not trusted"
                    );
                }
                ctx.run_later(LOOK_EVERY, move |renewer, ctx| {
                    // Others may have been named since.
                    if renewer.not_trusted.as_ref() == Some(&root_pem) {
                        renewer.trust(ctx, root_pem);
                    }
                });
            }
        }));
    }

    fn begin(&mut self, ctx: &mut Context<Self>, window: Window) {
        self.due_seconds = renewal_seconds(window, &mut self.random);
        self.ends_seconds = window.not_after_seconds;
        self.look(ctx);
    }
}

impl Actor for Renewer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(ctx);
    }
}

supervised!(Renewer, mailbox = 16);

impl Handler<Trust> for Renewer {
    type Result = ();

    fn handle(&mut self, Trust { root_pem }: Trust, ctx: &mut Context<Self>) {
        self.not_trusted = None;
        self.trust(ctx, root_pem);
    }
}

impl Handler<Renew> for Renewer {
    type Result = ();

    fn handle(&mut self, _: Renew, ctx: &mut Context<Self>) {
        self.force(ctx, true);
    }
}

impl Handler<Named> for Renewer {
    type Result = ();

    fn handle(&mut self, Named { role, rotates }: Named, ctx: &mut Context<Self>) {
        let expected = Some(role).filter(|role| *role != *self.ports.role.borrow());
        // What is known already waits for its time.
        let is_news = expected.is_some() && expected != self.expected;
        self.expected = expected;
        if is_news || rotates {
            // What is on its way may say the role; one that is to be rotated was issued before.
            self.force(ctx, rotates);
        }
    }
}

/// Gets a certificate for a new key, puts both on the disk, and shows them.
pub(super) async fn renewed(ports: Ports) -> Result<(Window, NodeRole), Failure> {
    let Ports { folder, credentials, issuer, environment, .. } = ports;
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
            && chain.subject.node_id == before.chain.subject.node_id;
        if !is_ours {
            return Err(Failure::Foreign);
        }
        chain.verify(before.root_pem.as_bytes(), &now).map_err(untrusted)?;
        // Only managers have a log.
        let is_manager = chain.subject.role == NodeRole::Manager;
        let key_file = before.key_file.with_log(is_manager);
        let key_file = KeyFile { key: key.into(), ..key_file };
        let path = files.key_path();
        files
            .write_pair(&issued, key_file.encode().as_bytes())
            .map_err(|source| Error::File { path, source })?;
        credentials.replace(&chain.certificates, &key_file.key)?;
        Ok((chain.window, chain.subject.role))
    });
    installed.await?
}

/// Why a certificate that is this node's own is not taken.
fn untrusted(invalid: Invalid) -> Failure {
    // Roots that follow each other have the same name: then it is the signature that does not fit.
    let is_another_root = matches!(
        invalid,
        Invalid::Untrusted(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature
        ))
    );
    if is_another_root { Failure::AnotherRoot } else { Failure::Unfit(invalid) }
}

/// Puts other roots on the disk, and trusts them from now on. Returns whether they are others.
async fn trusted(ports: Ports, root_pem: Bytes) -> Result<bool, Failure> {
    let Ports { folder, credentials, environment, .. } = ports;
    let now = environment.clock.now();
    let written = tokio::task::spawn_blocking(move || {
        let files = Files::new(&folder);
        let Identity { chain, root_pem: before, .. } = load(files.clone(), &now)?;
        if before.as_bytes() == root_pem {
            return Ok(false);
        }
        let roots = certificates(&root_pem).map_err(|_| Failure::Stranger)?;
        chain.verify(&root_pem, &now).map_err(|_| Failure::Stranger)?;
        let path = files.root_path();
        files.write_root(&root_pem).map_err(|source| Error::File { path, source })?;
        credentials.trust(&roots)?;
        Ok(true)
    });
    written.await?
}
