//! Who is let in and who is talked to: verifiers that look at the roots of the moment.

use std::{sync::Arc, time::Duration};

use actors::ca::logic::access::RENEWABLE_SECONDS;
use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::super::certificate::not_after;

/// Checks signatures of handshakes by the provider's algorithms: that differs in none of them.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// The trusted roots, as each side of a connection uses them.
#[derive(Debug)]
pub(super) struct Roots {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Roots {
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        certificates: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate.clone())?;
        }
        let store = Arc::new(store);
        let unusable =
            |error: rustls::server::VerifierBuilderError| Error::General(error.to_string());
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone());
        let servers = WebPkiServerVerifier::builder_with_provider(store, provider.clone());
        Ok(Self {
            clients: clients.build().map_err(unusable)?,
            servers: servers.build().map_err(unusable)?,
        })
    }
}

/// Lets in whoever has no certificate, or one of a trusted root. One that has ended passes, since
/// a machine that slept has no other way to renew it.
#[derive(Debug)]
pub(super) struct Clients {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Arc<ArcSwap<Roots>>,
}

impl Clients {
    pub(super) fn new(provider: &CryptoProvider, roots: Arc<ArcSwap<Roots>>) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, roots }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Clients have one certificate, and show it whatever roots are hinted at.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let moment = while_it_counted(end_entity, now);
        self.roots.load().clients.verify_client_cert(end_entity, intermediates, moment)
    }

    signatures!();
}

/// The moment by which a certificate is judged if it may have ended: the last one of its life, at
/// most.
fn while_it_counted(certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let ends = not_after(certificate).and_then(|seconds| u64::try_from(seconds).ok());
    ends.map_or(now, |ends| now.min(UnixTime::since_unix_epoch(Duration::from_secs(ends))))
}

/// Which certificates of managers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Those that are valid.
    Valid,
    /// Those that can be renewed, too.
    Renewable,
}

/// Talks to managers of a trusted root.
#[derive(Debug)]
pub(super) struct Servers {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Arc<ArcSwap<Roots>>,
    life: Life,
}

impl Servers {
    pub(super) fn new(provider: &CryptoProvider, roots: Arc<ArcSwap<Roots>>, life: Life) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, roots, life }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let servers = self.roots.load().servers.clone();
        let moment = match self.life {
            Life::Valid => now,
            Life::Renewable => {
                let earliest = now.as_secs().saturating_sub(RENEWABLE_SECONDS.unsigned_abs());
                let earliest = UnixTime::since_unix_epoch(Duration::from_secs(earliest));
                while_it_counted(end_entity, now).max(earliest)
            }
        };
        servers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, moment)
    }

    signatures!();
}

/// Talks to anybody: what comes over such a connection is checked by what it is.
#[derive(Debug)]
pub(super) struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Unverified {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
