//! TLS: certificates, chosen by the name a client asks for and read again without a restart; handshakes within a time of our own
//! ([`TlsConnections`]); and certificates that other servers' are checked against.

mod accept;
mod stream;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config;

pub use accept::{Acceptor, AcceptorError, Door, TLS_HANDSHAKE, TlsConnections, acceptor};
pub(crate) use stream::TlsStream;

/// One certificate to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertSource {
    /// PEM file with the chain, leaf first.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Names it is for, lower case; `*.example.com` stands for one label. Empty: only as the default.
    pub names: Vec<String>,
}

impl CertSource {
    /// Those keys of its section that name one of these files.
    pub(crate) fn keys_of(&self, section: &str, files: &[PathBuf]) -> Vec<String> {
        let named = [("cert", &self.cert), ("key", &self.key)].into_iter();
        let named = named.filter(|(_, path)| files.contains(path));
        named.map(|(key, _)| format!("{section}.{key}")).collect()
    }
}

impl From<&config::Cert> for CertSource {
    fn from(cert: &config::Cert) -> Self {
        Self {
            cert: cert.cert.clone(),
            key: cert.key.clone(),
            names: cert.names.clone(),
        }
    }
}

impl From<&config::RtmpTls> for CertSource {
    fn from(tls: &config::RtmpTls) -> Self {
        Self {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
            names: Vec::new(),
        }
    }
}

/// Why a certificate cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} holds no usable {what}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The key is another one's.
    #[error("the key {key} does not belong to the certificate {cert}: {reason}")]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        reason: String,
    },
    /// No certificate was named.
    #[error("no certificate is configured")]
    None,
}

/// Answers TLS handshakes. The first source is the default, for clients that name none or an unknown one.
#[derive(Debug)]
pub struct CertStore {
    /// Guards what is read on a reload; held to clone or replace it.
    sources: RwLock<Vec<CertSource>>,
    /// Guards the pointer to the present set; held to clone it, and to swap it on a reload.
    loaded: RwLock<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// A digest of each file.
    files: HashMap<PathBuf, [u8; 32]>,
}

impl CertStore {
    /// Reads the files.
    ///
    /// # Errors
    /// The first [`CertError`].
    pub fn load(sources: Vec<CertSource>) -> Result<Arc<Self>, CertError> {
        let loaded = RwLock::new(Arc::new(read_all(&sources)?));
        Ok(Arc::new(Self {
            sources: RwLock::new(sources),
            loaded,
        }))
    }

    /// Reads the files again. Connections that are open keep what they have.
    ///
    /// # Errors
    /// The first [`CertError`]; then nothing changes.
    pub fn reload(&self) -> Result<(), CertError> {
        let sources = self.sources.read().clone();
        self.replace(sources).map(drop)
    }

    /// Reads other files, and serves them from now on. Which of those that were read before hold something else now.
    ///
    /// # Errors
    /// The first [`CertError`]; then nothing changes.
    pub fn replace(&self, sources: Vec<CertSource>) -> Result<Vec<PathBuf>, CertError> {
        let next = Arc::new(read_all(&sources)?);
        let before = std::mem::replace(&mut *self.loaded.write(), Arc::clone(&next));
        *self.sources.write() = sources;
        let other = next.files.iter().filter(|(path, digest)| {
            let known = before.files.get(*path);
            known.is_some_and(|known| known != *digest)
        });
        Ok(other.map(|(path, _)| path.clone()).collect())
    }

    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let loaded = Arc::clone(&*self.loaded.read());
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            loaded.by_name.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                loaded.by_name.get(&format!("*.{parent}"))
            })
        });
        Arc::clone(found.unwrap_or(&loaded.default))
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.find(hello.server_name()))
    }
}

fn read_all(sources: &[CertSource]) -> Result<Loaded, CertError> {
    let mut default = None;
    let mut by_name = HashMap::new();
    let mut files = HashMap::new();
    for source in sources {
        let key = Arc::new(read(source, &mut files)?);
        for name in &source.names {
            by_name
                .entry(name.to_ascii_lowercase())
                .or_insert_with(|| Arc::clone(&key));
        }
        default.get_or_insert(key);
    }
    Ok(Loaded {
        default: default.ok_or(CertError::None)?,
        by_name,
        files,
    })
}

fn read(
    source: &CertSource,
    files: &mut HashMap<PathBuf, [u8; 32]>,
) -> Result<CertifiedKey, CertError> {
    let content = |path: &Path, what, reason: String| CertError::Content {
        path: path.to_owned(),
        what,
        reason,
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read_file(&source.cert, files)?)
            .collect::<Result<_, _>>()
            .map_err(|e| content(&source.cert, "certificate", e.to_string()))?;
    if chain.is_empty() {
        return Err(content(
            &source.cert,
            "certificate",
            "there is none".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&read_file(&source.key, files)?)
        .map_err(|e| content(&source.key, "private key", e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| CertError::Mismatch {
        cert: source.cert.clone(),
        key: source.key.clone(),
        reason: e.to_string(),
    })
}

fn read_file(path: &Path, files: &mut HashMap<PathBuf, [u8; 32]>) -> Result<Vec<u8>, CertError> {
    let bytes = fs::read(path).map_err(|source| CertError::Read {
        path: path.to_owned(),
        source,
    })?;
    files.insert(path.to_owned(), Sha256::digest(&bytes).into());
    Ok(bytes)
}

/// Certificates in PEM against which those of other servers are checked, for pingora's connectors.
///
/// # Errors
/// What is wrong with the file, as a part of a sentence.
pub(crate) fn read_authorities(path: &Path) -> Result<Arc<CaType>, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let mut store = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        // pingora takes for granted that it can be parsed.
        store
            .add(certificate.clone())
            .map_err(|error| error.to_string())?;
        certificates.push(WrappedX509::new(certificate.to_vec(), parse_x509));
    }
    if certificates.is_empty() {
        return Err("there is none".to_owned());
    }
    Ok(certificates.into())
}
