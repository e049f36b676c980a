//! TLS as this node speaks it, with credentials that can be exchanged while listeners and
//! connections run: what is new counts for new connections.

mod verifiers;

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol::wire::NodeTlsInfo;
use rustls::{
    ClientConfig, ConfigBuilder, ServerConfig, SignatureScheme, WantsVerifier,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;

use self::verifiers::{Clients, Life, Roots, Servers, Unverified};
use super::certificate::tls_info;

/// HTTP/2 is announced, and peers that announce nothing are taken as well: Go's tools do either.
const PROTOCOL: &[u8] = b"h2";

/// Who this node is and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    pub(super) certified: ArcSwap<CertifiedKey>,
    roots: Arc<ArcSwap<Roots>>,
    trusted: ArcSwap<Vec<CertificateDer<'static>>>,
    tls_info: watch::Sender<NodeTlsInfo>,
}

impl Credentials {
    /// Begins with a certificate, its key, and the trusted roots.
    pub fn new(
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Arc<Self>, rustls::Error> {
        let provider = Arc::new(default_provider());
        let certified = ArcSwap::from_pointee(certified(&provider, chain, key)?);
        let (tls_info, trusted) = (tls_info(chain, roots), ArcSwap::from_pointee(roots.to_vec()));
        let roots = Arc::new(ArcSwap::from_pointee(Roots::new(&provider, roots)?));
        let tls_info = watch::Sender::new(tls_info);
        Ok(Arc::new(Self { provider, certified, roots, trusted, tls_info }))
    }

    /// Shows another certificate from now on.
    pub fn replace(
        &self,
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
    ) -> Result<(), rustls::Error> {
        self.certified.store(Arc::new(certified(&self.provider, chain, key)?));
        self.tell();
        Ok(())
    }

    /// Trusts other roots from now on.
    pub fn trust(&self, roots: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        self.roots.store(Arc::new(Roots::new(&self.provider, roots)?));
        self.trusted.store(Arc::new(roots.to_vec()));
        self.tell();
        Ok(())
    }

    /// Returns what managers are to know of this node's certificate, whenever it changes.
    pub fn tls_info(&self) -> watch::Receiver<NodeTlsInfo> {
        self.tls_info.subscribe()
    }

    fn tell(&self) {
        // Both may be exchanged at once, by two threads: whoever tells last tells the newest of both.
        self.tls_info.send_modify(|told| {
            *told = tls_info(&self.certified.load().cert, &self.trusted.load());
        });
    }

    /// Returns the configuration of the control socket: no client certificate.
    pub fn control_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let config = server(&self.provider)?.with_no_client_auth();
        Ok(finished(config.with_cert_resolver(self.clone())))
    }

    /// Returns the configuration of the port for other nodes. A client certificate is verified if
    /// there is one; one that has ended passes, and whoever looks at it has to say what it is
    /// still good for.
    pub fn remote_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let clients = Arc::new(Clients::new(&self.provider, self.roots.clone()));
        let config = server(&self.provider)?.with_client_cert_verifier(clients);
        Ok(finished(config.with_cert_resolver(self.clone())))
    }

    /// Returns the configuration of connections to managers: this node's certificate is shown, and
    /// theirs has to be of a trusted root.
    pub fn client_config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, rustls::Error> {
        self.client_config_for(Life::Valid)
    }

    /// Returns the same for connections from one member of the raft group to another, whose
    /// certificate may have ended, though not more than a year ago: before they have elected a leader
    /// there is nobody to renew any.
    pub fn member_config(self: &Arc<Self>) -> Result<Arc<ClientConfig>, rustls::Error> {
        self.client_config_for(Life::Renewable)
    }

    fn client_config_for(self: &Arc<Self>, life: Life) -> Result<Arc<ClientConfig>, rustls::Error> {
        let servers = Arc::new(Servers::new(&self.provider, self.roots.clone(), life));
        let mut config = client(&self.provider, servers)?.with_client_cert_resolver(self.clone());
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

/// Returns the configuration of a node without a certificate. With roots, the manager has to be
/// of one of them; without, anybody is talked to, and nothing that is heard is to be believed.
pub fn stranger_config(
    roots: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) => {
            let roots = Arc::new(ArcSwap::from_pointee(Roots::new(&provider, roots)?));
            Arc::new(Servers::new(&provider, roots, Life::Valid))
        }
        None => Arc::new(Unverified::new(&provider)),
    };
    let mut config = client(&provider, verifier)?.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn server(
    provider: &Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
}

/// Sessions are never resumed: that would skip the client's certificate (architecture D14).
fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(
    provider: &CryptoProvider,
    chain: &[CertificateDer<'static>],
    key: &PrivatePkcs8KeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(key.clone_key());
    CertifiedKey::from_der(chain.to_vec(), key, provider)
}
