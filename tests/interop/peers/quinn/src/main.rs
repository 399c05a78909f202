//! quinn as a client and as a server of files: hq-interop, one `GET /path` a stream, the bare bytes back.
//!
//!     quinn-peer serve --root DIR --certificate FILE --key FILE [--listen ADDRESS:PORT] [options]
//!     quinn-peer get   --output DIR --ca FILE [options] ADDRESS:PORT PATH...
//!
//! The server prints "listening on ADDRESS:PORT" and "fingerprint sha256:HEX", one line of JSON for each connection that
//! ended, and on SIGINT or SIGTERM a summary. The client prints one line of JSON. Exit codes: 0 all arrived, 1 something
//! did not, 2 the command line was not understood, 3 no connection.
//!
//! Both:   --keylog FILE; --suites LIST of TLS 1.3 suites, as in CHACHA20_POLY1305_SHA256; --key-updates N to begin
//! Server: --retry; --preferred ADDRESS:PORT (IPv4) that clients are asked to move to
//! Client: --server-name NAME; --each: a connection for each file, one after the other; --resume: the first file over one
//!         connection, the rest over a second that resumes it; --early: asking in 0-RTT packets then; --migrate ADDRESS:
//!         moves there when files come
use std::{
    collections::HashMap,
    error::Error,
    fs::{File, OpenOptions},
    io::Write as _,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    path::{Component, Path, PathBuf},
    sync::{atomic::*, Arc, Mutex},
    time::Duration,
};

use rustls::{
    crypto::{ring as provider, CryptoProvider},
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
};

type Anything<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NOT_FOUND: u32 = 0x104; // the code of RESET_STREAM for a file that is not there
const SOME_TRAFFIC: Duration = Duration::from_millis(300); // files are on their way, the handshake is confirmed
const FLAGS: [&str; 4] = ["retry", "each", "resume", "early"];

// ---- options --------------------------------------------------------------------------------------------------------

#[derive(Clone, Default)]
struct Options {
    values: HashMap<String, String>,
    words: Vec<String>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Anything<Options> {
        let mut options = Options::default();
        let mut arguments = arguments;
        while let Some(word) = arguments.next() {
            match word.strip_prefix("--") {
                Some(name) if FLAGS.contains(&name) => options.values.insert(name.into(), String::new()),
                Some(name) => options.values.insert(name.into(), arguments.next().ok_or(format!("{word} what?"))?),
                None => {
                    options.words.push(word);
                    None
                }
            };
        }
        Ok(options)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn need(&self, name: &str) -> Anything<&str> {
        self.get(name).ok_or_else(|| format!("--{name} is needed").into())
    }

    fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn key_updates(&self) -> u64 {
        self.get("key-updates").and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

fn quote(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

// ---- what both roles share ------------------------------------------------------------------------------------------

#[derive(Debug)]
struct KeyLogTo(Mutex<File>);

impl rustls::KeyLog for KeyLogTo {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let _ = writeln!(self.0.lock().unwrap(), "{label} {} {}", hex(client_random), hex(secret));
    }
}

fn keylog(options: &Options) -> Anything<Arc<dyn rustls::KeyLog>> {
    Ok(match options.get("keylog") {
        None => Arc::new(rustls::NoKeyLog),
        Some(path) => Arc::new(KeyLogTo(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?))),
    })
}

fn crypto(options: &Options) -> Anything<Arc<CryptoProvider>> {
    let mut crypto = provider::default_provider();
    if let Some(list) = options.get("suites") {
        let wanted: Vec<String> = list.split(',').map(|name| format!("TLS13_{name}")).collect();
        crypto.cipher_suites.retain(|suite| wanted.contains(&format!("{:?}", suite.suite())));
        if crypto.cipher_suites.len() != wanted.len() {
            return Err(format!("--suites {list}: not all of these are known").into());
        }
    }
    Ok(Arc::new(crypto))
}

/// Initial packets are protected with this suite, whatever else is spoken (RFC 9001 5.2).
fn initial_suite() -> rustls::quic::Suite {
    provider::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap()
}

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    // A lossy handshake may wait for longer than the usual half minute: time-outs double.
    transport.max_idle_timeout(Some(Duration::from_secs(60).try_into().unwrap()));
    Arc::new(transport)
}

async fn update_keys(connection: quinn::Connection, times: u64) {
    for _ in 0..times {
        tokio::time::sleep(SOME_TRAFFIC).await;
        connection.force_key_update();
    }
}

fn beneath(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| root.join(relative))
}

// ---- server ---------------------------------------------------------------------------------------------------------

async fn answer(root: Arc<PathBuf>, mut send: quinn::SendStream, mut receive: quinn::RecvStream) -> Anything<()> {
    let request = receive.read_to_end(8192).await?;
    let line = String::from_utf8_lossy(&request).trim_end().to_string();
    let file = line.strip_prefix("GET ").and_then(|path| beneath(&root, path)).filter(|path| path.is_file());
    match file.map(std::fs::read) {
        Some(Ok(bytes)) => {
            send.write_all(&bytes).await?;
            send.finish()?;
        }
        _ => send.reset(NOT_FOUND.into())?,
    }
    Ok(())
}

async fn attend(connection: quinn::Connection, root: Arc<PathBuf>, updates: u64) -> bool {
    tokio::spawn(update_keys(connection.clone(), updates));
    let mut requests = 0;
    let end = loop {
        match connection.accept_bi().await {
            Ok((send, receive)) => {
                requests += 1;
                tokio::spawn(answer(root.clone(), send, receive));
            }
            Err(end) => break end,
        }
    };
    let clean = match &end {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code == 0u32.into(),
        quinn::ConnectionError::LocallyClosed => true,
        _ => false,
    };
    println!("{{\"requests\": {requests}, \"clean\": {clean}, \"close\": {}}}", quote(&end.to_string()));
    clean
}

async fn serve(options: &Options) -> Anything<i32> {
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(options.need("certificate")?)?.collect::<Result<_, _>>()?;
    let fingerprint = ring::digest::digest(&ring::digest::SHA256, &certificates[0]);
    let mut tls = rustls::ServerConfig::builder_with_provider(crypto(options)?)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_file(options.need("key")?)?)?;
    tls.alpn_protocols = vec![b"hq-interop".to_vec()];
    tls.max_early_data_size = u32::MAX;
    tls.key_log = keylog(options)?;
    let tls = quinn::crypto::rustls::QuicServerConfig::with_initial(Arc::new(tls), initial_suite())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport());
    if let Some(preferred) = options.get("preferred") {
        config.preferred_address_v4(Some(preferred.parse::<SocketAddrV4>()?));
    }
    let endpoint = quinn::Endpoint::server(config, options.get("listen").unwrap_or("127.0.0.1:0").parse()?)?;
    let hex: String = fingerprint.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    println!("listening on {}\nfingerprint sha256:{hex}", endpoint.local_addr()?);

    let root = Arc::new(PathBuf::from(options.need("root")?));
    let connections = Arc::new(AtomicU64::new(0));
    let clean = Arc::new(AtomicU64::new(0));
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        let Some(incoming) = incoming else { break };
        if options.has("retry") && !incoming.remote_address_validated() {
            incoming.retry()?;
            continue;
        }
        let Ok(connecting) = incoming.accept() else { continue };
        let (root, updates) = (root.clone(), options.key_updates());
        let (connections, clean) = (connections.clone(), clean.clone());
        tokio::spawn(async move {
            // A server can always answer before the handshake is complete: early data are taken at once.
            if let Ok((connection, complete)) = connecting.into_0rtt() {
                tokio::spawn(async move {
                    if complete.await {
                        connections.fetch_add(1, Ordering::SeqCst);
                    }
                });
                if attend(connection, root, updates).await {
                    clean.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    endpoint.close(0u32.into(), b"");
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    println!(
        "{{\"summary\": true, \"connections\": {}, \"clean\": {}}}",
        connections.load(Ordering::SeqCst),
        clean.load(Ordering::SeqCst)
    );
    Ok(0)
}

// ---- client ---------------------------------------------------------------------------------------------------------

async fn fetch(connection: quinn::Connection, output: PathBuf, path: String) -> Anything<u64> {
    let target = beneath(&output, &path).ok_or("no such name")?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await?;
    send.finish()?;
    let mut file = File::create(&target)?;
    let mut total = 0;
    let outcome: Anything<()> = loop {
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => {
                total += chunk.bytes.len() as u64;
                file.write_all(&chunk.bytes)?;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    if outcome.is_err() {
        std::fs::remove_file(&target)?;
    }
    outcome.map(|()| total)
}

struct Client {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    name: String,
    options: Options,
    bytes: u64,
    failed: Vec<String>,
    early: Option<bool>,
}

impl Client {
    /// One connection, and all these files over it at once. `last`: no other follows.
    async fn converse(&mut self, paths: &[String], last: bool) -> Anything<()> {
        let connecting = self.endpoint.connect(self.address, &self.name)?;
        let connecting = if self.options.has("early") { connecting.into_0rtt() } else { Err(connecting) };
        let (connection, accepted) = match connecting {
            Ok((connection, accepted)) => (connection, Some(accepted)),
            Err(connecting) => (connecting.await?, None),
        };
        let output = PathBuf::from(self.options.need("output")?);
        let tasks: Vec<_> = paths
            .iter()
            .map(|path| (path.clone(), tokio::spawn(fetch(connection.clone(), output.clone(), path.clone()))))
            .collect();
        if last {
            tokio::spawn(update_keys(connection.clone(), self.options.key_updates()));
            if let Some(address) = self.options.get("migrate") {
                tokio::time::sleep(SOME_TRAFFIC).await;
                self.endpoint.rebind(UdpSocket::bind((address, 0))?)?;
            }
        }
        for (path, task) in tasks {
            match task.await? {
                Ok(bytes) => self.bytes += bytes,
                Err(error) => self.failed.push(format!("{path}: {error}")),
            }
        }
        if let Some(accepted) = accepted {
            self.early = Some(accepted.await);
        }
        if !last && self.options.has("resume") {
            tokio::time::sleep(SOME_TRAFFIC).await; // the ticket may come after the file
        }
        connection.close(0u32.into(), b"");
        // Not for all of its closing period: three time-outs, which losses have made long.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
        Ok(())
    }
}

async fn get(options: &Options) -> Anything<i32> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(options.need("ca")?)? {
        roots.add(certificate?)?;
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(crypto(options)?)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"hq-interop".to_vec()];
    tls.enable_early_data = options.has("early");
    tls.key_log = keylog(options)?;
    let tls = quinn::crypto::rustls::QuicClientConfig::with_initial(Arc::new(tls), initial_suite())?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(transport());
    let [address, paths @ ..] = options.words.as_slice() else { return Err("ADDRESS:PORT PATH...".into()) };
    let address: SocketAddr = address.parse()?;
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let mut endpoint = quinn::Endpoint::client(any.parse()?)?;
    endpoint.set_default_client_config(config);
    let name = options.get("server-name").map_or(address.ip().to_string(), str::to_string);
    let mut client =
        Client { endpoint, address, name, options: options.clone(), bytes: 0, failed: vec![], early: None };
    let groups: Vec<&[String]> = if options.has("each") {
        paths.chunks(1).collect()
    } else if options.has("resume") {
        vec![&paths[..1], &paths[1..]]
    } else {
        vec![paths]
    };
    let mut code = 0;
    for (i, group) in groups.iter().enumerate() {
        if let Err(error) = client.converse(group, i + 1 == groups.len()).await {
            eprintln!("quinn-peer: {error}");
            code = 3;
            break;
        }
    }
    for failure in &client.failed {
        eprintln!("quinn-peer: {failure}");
        code = code.max(1);
    }
    let early = client.early.map_or("null".to_string(), |early| early.to_string());
    println!("{{\"connected\": {}, \"bytes\": {}, \"early_data\": {early}}}", code != 3, client.bytes);
    Ok(code)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = match (command.as_str(), Options::parse(arguments)) {
        ("serve", Ok(options)) => serve(&options).await,
        ("get", Ok(options)) => get(&options).await,
        (_, Err(error)) => Err(error),
        _ => Err("serve or get?".into()),
    };
    std::process::exit(outcome.unwrap_or_else(|error| {
        eprintln!("quinn-peer: {error}");
        2
    }));
}
