//! `docker.swarmkit.v1.Raft`: messages of other managers, on their way to the raft peer.

use actors::{
    raft::{Intake, Receive, Removed},
    supervision::Recipient,
};
use protocol::{
    raftpb,
    wire::{
        ProcessRaftMessageRequest, ProcessRaftMessageResponse, ResolveAddressRequest,
        ResolveAddressResponse, StreamRaftMessageRequest, StreamRaftMessageResponse, raft_server,
    },
};
use tonic::{Request, Response, Status, Streaming};

use crate::remote::{ADDRESS, Assembly, Directory, Peer};

/// Hands messages to the raft peer of this process.
#[derive(Clone)]
pub struct Raft {
    directory: Directory,
    peer: Recipient<Receive>,
}

impl Raft {
    /// Hands messages to `peer`. Notes in the directory from where members call.
    pub fn new(directory: Directory, peer: Recipient<Receive>) -> Self {
        Self { directory, peer }
    }

    async fn take(&self, caller: &Caller, message: raftpb::Message) -> Result<(), Status> {
        let Caller { peer: caller, address } = caller;
        let group = self.directory.standing().group();
        let from = message.from.unwrap_or_default();
        let named = caller.certificate.as_ref().map(|shown| shown.subject.node_id.as_str());
        match group.judge(&message, named) {
            Intake::Hear => {
                if let Some(node_id) = named {
                    self.directory.hear(from, node_id, address.as_deref());
                }
                self.directory.see(from, caller.address.ip());
            }
            Intake::Ignore => return Ok(()),
            Intake::Foreign => {
                let text = format!("the messages of member {from:x} are not this node's to send");
                return Err(Status::permission_denied(text));
            }
        }
        match self.peer.send(Receive(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(removed @ Removed)) => {
                self.directory.forget(from);
                Err(Status::not_found(removed.to_string()))
            }
            Err(_) => Err(Status::unavailable("raft does not run here at the moment")),
        }
    }
}

/// Who calls.
struct Caller {
    /// The network always says that.
    peer: Peer,
    /// Where it listens, as it says itself.
    address: Option<String>,
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    let peer = peer.ok_or_else(|| Status::permission_denied("Permission denied: no peer info"))?;
    let address = request.metadata().get(ADDRESS).and_then(|address| address.to_str().ok());
    Ok(Caller { peer, address: address.map(str::to_owned) })
}

#[tonic::async_trait]
impl raft_server::Raft for Raft {
    async fn process_raft_message(
        &self,
        request: Request<ProcessRaftMessageRequest>,
    ) -> Result<Response<ProcessRaftMessageResponse>, Status> {
        let caller = caller(&request)?;
        if let Some(message) = request.into_inner().message {
            self.take(&caller, message).await?;
        }
        Ok(Response::new(ProcessRaftMessageResponse {}))
    }

    async fn resolve_address(
        &self,
        request: Request<ResolveAddressRequest>,
    ) -> Result<Response<ResolveAddressResponse>, Status> {
        let raft_id = request.into_inner().raft_id;
        let addr = self.directory.address(raft_id);
        let unknown = || Status::not_found("raft: member unknown");
        Ok(Response::new(ResolveAddressResponse { addr: addr.ok_or_else(unknown)? }))
    }

    async fn stream_raft_message(
        &self,
        request: Request<Streaming<StreamRaftMessageRequest>>,
    ) -> Result<Response<StreamRaftMessageResponse>, Status> {
        let caller = caller(&request)?;
        let (mut parts, mut assembly) = (request.into_inner(), Assembly::default());
        let unfit = |error| Status::invalid_argument(format!("{error}"));
        while let Some(part) = parts.message().await? {
            assembly.add(part.message).map_err(unfit)?;
        }
        let message = assembly.finish().map_err(unfit)?;
        self.take(&caller, message).await?;
        Ok(Response::new(StreamRaftMessageResponse {}))
    }
}
