//! TLS as this node offers it, with credentials that can be exchanged while listeners run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

/// The certificate shown to whoever connects. New connections see a replacement at once.
#[derive(Debug)]
pub struct Shown {
    provider: Arc<CryptoProvider>,
    pub(super) certified: ArcSwap<CertifiedKey>,
}

impl Shown {
    /// Begins with a certificate and its key.
    pub fn new(
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
    ) -> Result<Arc<Self>, rustls::Error> {
        let provider = Arc::new(default_provider());
        let certified = ArcSwap::from_pointee(certified(&provider, chain, key)?);
        Ok(Arc::new(Self { provider, certified }))
    }

    /// Shows another certificate from now on.
    pub fn replace(
        &self,
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
    ) -> Result<(), rustls::Error> {
        self.certified.store(Arc::new(certified(&self.provider, chain, key)?));
        Ok(())
    }

    /// Returns the configuration of the control socket: TLS 1.2 or newer, no client certificate.
    ///
    /// HTTP/2 is announced, and clients that announce nothing are taken as well: Go's tools do
    /// either. Sessions are never resumed, here as on the ports of the cluster.
    pub fn control_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
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
