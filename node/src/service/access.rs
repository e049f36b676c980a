//! Who calls: reads it from the connection and from what managers tell of each other's callers, and
//! has it judged. What others claim is gone before anybody can believe it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use actors::{
    ca::logic::{
        Subject,
        access::{self, Call, Caller, Certificate, Cluster, Denied, Door, Forwarded, may_forward},
    },
    environment::Clock,
    store::View,
};
use http::{HeaderMap, Request, header::HeaderValue};
use protocol::rpc::{self, Rpc};
use tonic::Status;

use crate::remote::peer::{Peer, Presented};

/// Marks the call of somebody else, with who that is.
pub(super) const FORWARDED: &str = "forwarded_cert";
pub(super) const COMMON_NAME: &str = "forwarded_cert_cn";
pub(super) const ORGANIZATION: &str = "forwarded_cert_org";
pub(super) const UNIT: &str = "forwarded_cert_ou";

/// Where a call that is passed on came from.
pub(super) const REMOTE_ADDRESS: &str = "remote_addr";

/// Marks a call that was passed on, with by whom it was first made.
pub(super) const REDIRECT: &str = "redirect";

/// Judges the calls that come in by one door.
#[derive(Clone)]
pub struct Access {
    /// Which.
    pub door: Door,
    /// This node.
    pub own: Subject,
    /// Who belongs to the cluster: what is committed, as far as this node knows.
    pub view: Arc<dyn Fn() -> View + Send + Sync>,
    /// When certificates end.
    pub clock: Arc<dyn Clock>,
}

/// From where a caller reaches this cluster, in the extensions of a request; of callers on the
/// control socket nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerAddress(pub SocketAddr);

/// At which address a caller reaches this manager, or could: in the extensions of a request.
///
/// For a call that another manager has passed on it is where that one has reached this one, unless both
/// are on one machine: to others, such an address would mean their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReachedAt(pub(super) IpAddr);

/// A call that has come in, with what it says about itself and may say.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) rpc: &'static Rpc,
    /// None on the control socket.
    pub(super) peer: Option<Peer>,
    /// Whose call it is, if a manager passes it on.
    forwarded: Option<Forwarded>,
    address: Option<SocketAddr>,
    here: Option<IpAddr>,
    /// Who passed it on for whom, if anybody did.
    pub(super) redirects: Vec<String>,
}

impl Arrival {
    /// Whether another manager has passed this call on: SwarmKit's say so in either way.
    pub(super) fn is_passed_on(&self) -> bool {
        self.forwarded.is_some() || !self.redirects.is_empty()
    }

    /// Whether this manager makes the call itself: it came through the control socket.
    pub(super) fn is_own(&self) -> bool {
        self.peer.is_none()
    }
}

impl Access {
    /// Finds out what is called and who is there, and takes out of the request what only managers
    /// may say.
    pub(super) fn receive<B>(&self, request: &mut Request<B>) -> Result<Arrival, Status> {
        let rpc = rpc::find(request.uri().path());
        let peer =
            match self.door {
                Door::Socket => None,
                Door::Network => {
                    let peer = request.extensions().get::<Peer>().cloned();
                    Some(peer.ok_or_else(|| {
                        Status::permission_denied("Permission denied: no peer info")
                    })?)
                }
            };
        let said = Said::take(request.headers_mut());
        let is_heard = peer
            .as_ref()
            .and_then(|peer| peer.certificate.as_deref())
            .is_some_and(|presented| may_forward(certificate(presented), &self.own));
        let Said { forwarded, address, redirects } = if is_heard { said } else { Said::default() };
        let rpc = rpc.ok_or_else(|| Status::unimplemented("this method is not known"))?;
        let here = peer.as_ref().map(|peer| peer.here);
        let (address, here) = match &forwarded {
            Some(_) => (address, here.filter(|here| !here.is_loopback())),
            None => (peer.as_ref().map(|peer| peer.address), here),
        };
        let address = address.map(|it| SocketAddr::new(it.ip().to_canonical(), it.port()));
        Ok(Arrival { rpc, peer, forwarded, address, here, redirects })
    }

    /// Judges a call that is answered here, and tells whoever answers who calls.
    pub(super) fn admit<B>(
        &self,
        arrival: &Arrival,
        request: &mut Request<B>,
    ) -> Result<(), Status> {
        let caller = self.with(arrival, access::judge)?;
        request.extensions_mut().insert(caller);
        if let Some(address) = arrival.address {
            request.extensions_mut().insert(CallerAddress(address));
        }
        if let Some(here) = arrival.here {
            request.extensions_mut().insert(ReachedAt(here));
        }
        Ok(())
    }

    /// Judges a call before anything of it is taken in.
    pub(super) fn permit(&self, arrival: &Arrival) -> Result<(), Status> {
        self.with(arrival, access::judge).map(drop)
    }

    /// Says whom the leader is to be told of; nobody of a caller without a certificate.
    pub(super) fn introduce(&self, arrival: &Arrival) -> Result<Option<Subject>, Status> {
        self.with(arrival, |call, cluster| Ok(access::introduce(call, cluster)?.cloned()))
    }

    fn with<T>(
        &self,
        arrival: &Arrival,
        judge: impl FnOnce(&Call<'_>, Cluster<'_>) -> Result<T, Denied>,
    ) -> Result<T, Status> {
        let presented = arrival.peer.as_ref().and_then(|peer| peer.certificate.as_deref());
        let call = Call {
            rpc: arrival.rpc,
            door: self.door,
            certificate: presented.map(certificate),
            forwarded: arrival.forwarded.as_ref(),
        };
        let (view, now) = ((self.view)(), self.clock.now());
        let cluster = Cluster { own: &self.own, view: &view, now: &now };
        judge(&call, cluster).map_err(|denied| {
            let peer = arrival.peer.as_ref().map(|peer| peer.address);
            tracing::info!(path = arrival.rpc.path, ?peer, %denied, "a call is refused");
            Status::permission_denied(denied.to_string())
        })
    }
}

/// Returns who calls, as it was found out before the call reached a service.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::internal("nobody has found out who calls"))
}

fn certificate(presented: &Presented) -> Certificate<'_> {
    Certificate { subject: &presented.subject, window: presented.window }
}

/// What a manager says of a call that it passes on.
#[derive(Default)]
struct Said {
    forwarded: Option<Forwarded>,
    address: Option<SocketAddr>,
    redirects: Vec<String>,
}

impl Said {
    /// Takes it out of the headers, with all that looks like it.
    fn take(headers: &mut HeaderMap) -> Self {
        let all = |name: &str| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
        let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
        let forwarded = headers.contains_key(FORWARDED).then(|| Forwarded {
            common_name: first(COMMON_NAME),
            organization: first(ORGANIZATION),
            units: all(UNIT),
        });
        let said = Self {
            forwarded,
            address: first(REMOTE_ADDRESS).parse().ok(),
            redirects: all(REDIRECT),
        };
        let is_ours =
            |name: &str| name.starts_with(FORWARDED) || [REMOTE_ADDRESS, REDIRECT].contains(&name);
        let names: Vec<_> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        said
    }
}

/// The text of a value; nothing of one that is no text, as no id is.
fn text(value: &HeaderValue) -> String {
    value.to_str().unwrap_or_default().to_owned()
}
