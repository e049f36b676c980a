//! Who may call which method, and who answers it; made from the options in the `.proto` files.

/// What a certificate says that a node is (its organisational unit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `swarm-manager`
    Manager,
    /// `swarm-worker`
    Worker,
}

/// One method of one service.
#[derive(Clone, Copy, Debug)]
pub struct Rpc {
    /// The path of its HTTP/2 request.
    pub path: &'static str,
    /// The roles that may call it over the network.
    pub roles: &'static [Role],
    /// Whether callers without a certificate may, too.
    pub anybody: bool,
    /// Whether only the leader answers; other managers pass the call on.
    pub leader: bool,
    /// Whether requests come as a stream.
    pub client_streaming: bool,
    /// Whether answers go out as a stream.
    pub server_streaming: bool,
}

/// Every method of every service, in the order of the descriptors.
pub const RPCS: &[Rpc] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

/// Returns the row of a path.
pub fn find(path: &str) -> Option<&'static Rpc> {
    RPCS.iter().find(|rpc| rpc.path == path)
}
