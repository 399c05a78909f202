//! quinn, with windows that never limit and its own defaults besides (GSO and GRO on, MTU discovery to 1,452 bytes).
use bytes::Bytes;
use quinn::{crypto::rustls::QuicServerConfig, ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
use std::{error::Error, net::SocketAddr, sync::Arc};
use tokio::sync::Semaphore;
use weft_bench_peers::{args, Load, Measured, Role, CHUNK, MESSAGE};

#[path = "../tasks.rs"]
mod tasks;

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(16 << 20))
        .receive_window(VarInt::from_u32(32 << 20))
        .send_window(32 << 20)
        .max_concurrent_bidi_streams(VarInt::from_u32(1000));
    Arc::new(config)
}

async fn answer(mut send: quinn::SendStream, mut recv: quinn::RecvStream) -> Option<()> {
    let mut head = [0u8; 8];
    recv.read_exact(&mut head).await.ok()?;
    let mut left = u64::from_be_bytes(head);
    while recv.read_chunk(CHUNK, true).await.ok()?.is_some() {}
    let chunk = Bytes::from(vec![0u8; CHUNK]);
    while left > 0 {
        let part = chunk.slice(..left.min(CHUNK as u64) as usize);
        left -= part.len() as u64;
        send.write_chunk(part).await.ok()?;
    }
    send.finish().ok()
}

async fn serve(port: u16, cert: String, key: String) {
    let certs = CertificateDer::pem_file_iter(cert).unwrap().map(|c| c.unwrap()).collect();
    let mut tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_no_client_auth()
        .with_single_cert(certs, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    tls.alpn_protocols = vec![b"perf".to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    let endpoint = Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    println!("ready");
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, recv)) = connection.accept_bi().await {
                tokio::spawn(answer(send, recv));
            }
        });
    }
}

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

async fn ask(connection: &Connection, down: u64, up: u64) -> Outcome {
    let (mut send, mut recv) = connection.open_bi().await?;
    let upload = async {
        let mut head = down.to_be_bytes().to_vec();
        head.resize(up.clamp(8, 100) as usize, 0);
        let mut left = up.saturating_sub(head.len() as u64);
        send.write_all(&head).await?;
        let chunk = Bytes::from(vec![0u8; if left > 0 { CHUNK } else { 0 }]);
        while left > 0 {
            let part = chunk.slice(..left.min(CHUNK as u64) as usize);
            left -= part.len() as u64;
            send.write_chunk(part).await?;
        }
        Ok(send.finish()?)
    };
    let download = async {
        let mut got = 0;
        while let Some(chunk) = recv.read_chunk(CHUNK, true).await? {
            got += chunk.bytes.len() as u64;
        }
        if got == down { Ok(()) } else { Err(format!("{got} bytes of {down}").into()) }
    };
    tokio::try_join!(upload, download).map(|_| ())
}

async fn handshake(endpoint: Endpoint, server: SocketAddr) -> Outcome {
    let connection = endpoint.connect(server, "localhost")?.await?;
    ask(&connection, MESSAGE, MESSAGE).await?;
    connection.close(VarInt::from_u32(0), b"");
    Ok(())
}

async fn load(port: u16, ca: String, load: Load) {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let mut tls = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"perf".to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(transport());
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    endpoint.set_default_client_config(config);
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    if let Load::Handshakes { count, at_once } = load {
        handshake(endpoint.clone(), server).await.unwrap(); // aws-lc gathers randomness for 0.2 s when it is first asked for
        let _measured = Measured::begin();
        return tasks::handshakes(count, at_once, move || handshake(endpoint.clone(), server)).await;
    }
    let connection = endpoint.connect(server, "localhost").unwrap().await.unwrap();
    match load {
        Load::Bulk { down, up } => {
            let _measured = Measured::begin();
            ask(&connection, down, up).await.unwrap();
        }
        Load::Requests { count, in_flight } => {
            let _measured = Measured::begin();
            let slots = Arc::new(Semaphore::new(in_flight as usize));
            for _ in 0..count {
                let slot = slots.clone().acquire_owned().await.unwrap();
                let connection = connection.clone();
                tokio::spawn(async move {
                    ask(&connection, MESSAGE, MESSAGE).await.unwrap();
                    drop(slot);
                });
            }
            let _all = slots.acquire_many(in_flight as u32).await.unwrap();
        }
        Load::Handshakes { .. } => unreachable!(),
    }
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256]; // as all here
    provider.install_default().unwrap();
    let args = args();
    match args.role {
        Role::Server { cert, key } => serve(args.port, cert, key).await,
        Role::Client { ca, load: what } => load(args.port, ca, what).await,
    }
}
