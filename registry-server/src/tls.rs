//! TLS from files that may change while the server runs.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: Tls,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    settings: Arc<ServerConfig>,
    stamp: Option<Stamp>,
}

/// When the files were last written.
type Stamp = (SystemTime, SystemTime);

impl Certificate {
    /// Reads the files.
    pub(crate) fn load(files: &Tls) -> io::Result<Self> {
        let stamp = stamp(files);
        Ok(Self {
            current: RwLock::new(Current {
                settings: read(files)?,
                stamp,
            }),
            files: files.clone(),
        })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.settings))
    }

    /// Reads the files again if they have changed. `Ok(true)`: they had, and are in use.
    ///
    /// Files that do not fit together (yet) leave the old certificate in use.
    pub(crate) fn reload(&self) -> io::Result<bool> {
        let now = stamp(&self.files);
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if now.is_none() || current.stamp == now {
                return Ok(false);
            }
        }
        let settings = read(&self.files)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            settings,
            stamp: now,
        };
        Ok(true)
    }
}

fn stamp(files: &Tls) -> Option<Stamp> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    Some((
        modified(&files.certificate).ok()?,
        modified(&files.key).ok()?,
    ))
}

fn read(files: &Tls) -> io::Result<Arc<ServerConfig>> {
    let invalid = |path: &Path, error: &dyn std::fmt::Display| {
        let text = format!("`{}`: {error}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| invalid(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(invalid(
            &files.certificate,
            &"there is no certificate in it",
        ));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| invalid(&files.key, &error))?;
    let mut settings = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| invalid(&files.key, &error))?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}
