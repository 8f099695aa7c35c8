//! A folder with a web configuration and what it names, a front that serves by it, and clients of that front.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cowherd::link::{self, FromFront};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::served::{Answer, Guard, connect, fresh, read, spawn_with, wait_for};

pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Of a folder with a web configuration, what it names, and who signed it.
pub(crate) struct Setting {
    pub(crate) folder: PathBuf,
    pub(crate) authority: Issuer,
}

/// The time of a client whose clock is late.
#[derive(Debug)]
pub(crate) struct May2020;

impl TimeProvider for May2020 {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            1_590_000_000,
        )))
    }
}

/// A client's trust and, if it has one, its certificate.
pub(crate) struct Client(pub(crate) Arc<ClientConfig>);

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// Certificate and key in PEM, for these names, until the end of the year before.
pub(crate) fn signed(authority: &Issuer, names: Vec<SanType>, year: i32) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.subject_alt_names = names;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

impl Setting {
    /// With a good pair for localhost until 2120.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("cowherd-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let setting = Self {
            folder,
            authority: authority(),
        };
        setting.certify(2120);
        setting.write("ca.pem", &setting.authority.pem());
        setting
    }

    pub(crate) fn certify(&self, year: i32) {
        let (certificate, key) = signed(&self.authority, vec![dns("localhost")], year);
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
    }

    /// As people should: what is there is replaced, and never half of it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.folder.join("new");
        fs::write(&new, text).expect("ours");
        fs::rename(&new, self.folder.join(name)).expect("ours");
    }

    /// The configuration, with these keys more.
    pub(crate) fn configure(&self, tls: &str, others: &str) {
        let text = format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n{tls}\n{others}\n"
        );
        self.write("web.yml", &text);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("web.yml")
    }

    /// A front with a view, once it is answered by `is_there`.
    pub(crate) fn serve(&self, mut is_there: impl FnMut(SocketAddr) -> bool) -> Guard {
        let mut guard = Guard::listening(spawn_with(Some(self.path())));
        guard.send(&fresh());
        wait_for("the view", || is_there(guard.address));
        guard
    }

    pub(crate) fn serve_tls(&self, client: &Client) -> Guard {
        self.serve(|address| {
            client
                .get(address, "/-/ready")
                .is_ok_and(|a| a.status == 200)
        })
    }

    /// What the front says instead of serving.
    pub(crate) fn refusal(&self) -> String {
        refusal(&self.path())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.authority, None)
    }

    /// With a certificate for these names, signed by this authority.
    pub(crate) fn client_of(&self, authority: &Issuer, names: Vec<SanType>) -> Client {
        Client::new(&self.authority, Some(&signed(authority, names, 2120)))
    }
}

pub(crate) fn refusal(path: &Path) -> String {
    let (mut link, _lock, front) = spawn_with(Some(path.into()));
    let told = link::receive::<FromFront>(&mut link).expect("a whole frame");
    assert!(front.join().expect("no panic").is_err());
    match told {
        Some(FromFront::Misconfigured { message }) => message,
        other => panic!("{other:?}"),
    }
}

impl Client {
    pub(crate) fn new(trusted: &Issuer, own: Option<&(String, String)>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("defaults")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        Self(Arc::new(config))
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.0), name).expect("a configuration");
        let stream = connect(address);
        StreamOwned::new(connection, stream)
    }

    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, std::io::Error> {
        self.get_with(address, path, "")
    }

    pub(crate) fn get_with(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &str,
    ) -> Result<Answer, std::io::Error> {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        self.ask(address, &text)
    }

    /// Sends all of a request and reads all of what comes back.
    pub(crate) fn ask(&self, address: SocketAddr, text: &str) -> Result<Answer, std::io::Error> {
        let mut stream = self.connect(address);
        stream.write_all(text.as_bytes())?;
        // A client's certificate is judged after its request was sent.
        let mut first = [0];
        let count = stream.read(&mut first)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read(&mut BufReader::new((&first[..count]).chain(stream))))
    }

    /// The certificate that the server shows, as bytes.
    pub(crate) fn shown(&self, address: SocketAddr) -> Vec<u8> {
        let mut stream = self.connect(address);
        let text = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(text.as_bytes()).expect("a handshake");
        let shown = stream.conn.peer_certificates().expect("after a handshake");
        shown[0].to_vec()
    }
}
