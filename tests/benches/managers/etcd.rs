//! Debian's `etcd-server` with three members on the same disk, for comparison; nothing where it is
//! not installed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use prost::Message;
use tokio::time::sleep;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Ports that nobody has: of each member, for clients and for peers.
const PORTS: [(u16, u16); 3] = [(23_791, 23_801), (23_792, 23_802), (23_793, 23_803)];

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Done {}

/// Three members. They are killed when this is dropped.
pub(crate) struct Etcd(Vec<Child>);

impl Etcd {
    /// Starts them in a folder.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let peers: Vec<_> = PORTS
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("m{number}=http://127.0.0.1:{peer}"))
            .collect();
        let member = |(number, (client, peer)): (usize, &(u16, u16))| {
            let (client, peer) =
                (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            Command::new("etcd")
                .args(["--name", &format!("m{number}"), "--data-dir"])
                .arg(folder.join(format!("etcd{number}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let members: Option<Vec<_>> = PORTS.iter().enumerate().map(member).collect();
        members.map(Self)
    }

    /// A connection of its own to one of the members, as soon as that takes writes.
    pub(crate) async fn client(&self, member: usize) -> Client {
        let uri = format!("http://127.0.0.1:{}", PORTS[member].0);
        loop {
            let endpoint = Endpoint::from_shared(uri.clone()).expect("an address");
            if let Ok(channel) = endpoint.connect().await {
                let mut client = Client(Grpc::new(channel));
                if client.put(b"ready".to_vec(), Vec::new()).await.is_ok() {
                    return client;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.0 {
            member.kill().expect("it can be killed");
            member.wait().expect("it can be waited for");
        }
    }
}

/// Writes keys.
pub(crate) struct Client(Grpc<Channel>);

impl Client {
    pub(crate) async fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec = ProstCodec::<Put, Done>::default();
        self.0.unary(Request::new(Put { key, value }), path, codec).await.map(drop)
    }
}
