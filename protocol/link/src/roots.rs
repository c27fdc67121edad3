//! Whom the machine trusts for `https://`, as ureq takes it.

use crate::identity::provider;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The certificates that the machine trusts, or, where it has none, those that browsers trust.
pub fn of_the_machine() -> RootCerts {
    let native = rustls_native_certs::load_native_certs().certs;
    if native.is_empty() {
        return RootCerts::WebPki;
    }
    let owned = native.iter().map(|root| Certificate::from_der(root).to_owned());
    RootCerts::from(owned.collect::<Vec<_>>())
}

/// TLS for a client of web servers that trusts `roots`.
pub fn tls(roots: RootCerts) -> TlsConfig {
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider())
        .root_certs(roots)
        .build()
}
