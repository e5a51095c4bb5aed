//! The one TLS configuration of adapters that speak HTTP: rustls with ring, and the platform's certificates.
//!
//! The provider is named here and not installed for the process, so that whoever embeds an adapter keeps their own.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Which versions of HTTP a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// HTTP/2 before HTTP/1.1.
    Http2,
    /// None in particular: the server takes HTTP/1.1.
    Nothing,
}

/// The platform's certificates cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// A client's side of TLS. Unless the connection `is_encrypted` nothing is read from the platform: that takes a while, and
/// there may be no certificates.
///
/// # Errors
///
/// [`Unusable`] where the platform's certificates cannot be read. What the platform says of it is not passed on.
pub fn client(is_encrypted: bool, offers: Offers) -> Result<ClientConfig, Unusable> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_error| Unusable)?;
    let mut config = if is_encrypted {
        builder
            .with_platform_verifier()
            .map_err(|_error| Unusable)?
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    if offers == Offers::Http2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_encryption_nothing_is_read_and_no_certificate_is_trusted() {
        let config = client(false, Offers::Nothing).unwrap();
        assert!(config.alpn_protocols.is_empty());
        let config = client(false, Offers::Http2).unwrap();
        assert_eq!(
            config.alpn_protocols,
            [b"h2".to_vec(), b"http/1.1".to_vec()]
        );
    }
}
