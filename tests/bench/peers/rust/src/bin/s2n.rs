//! s2n-quic, with windows that never limit and its own defaults besides (GSO and GRO on).
use bytes::Bytes;
use s2n_quic::{
    client::Connect,
    connection,
    provider::{limits::Limits, tls::rustls as tls},
    stream::BidirectionalStream,
    Client, Connection, Server,
};
use std::{error::Error, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use weft_bench_peers::{args, Load, Measured, Role, CHUNK, MESSAGE};

#[path = "../tasks.rs"]
mod tasks;

fn limits() -> Limits {
    Limits::new()
        .with_data_window(32 << 20)
        .unwrap()
        .with_bidirectional_local_data_window(16 << 20)
        .unwrap()
        .with_bidirectional_remote_data_window(16 << 20)
        .unwrap()
        .with_max_send_buffer_size(16 << 20)
        .unwrap()
        .with_max_open_remote_bidirectional_streams(1000)
        .unwrap()
        .with_max_open_local_bidirectional_streams(1000)
        .unwrap()
        .with_max_idle_timeout(Duration::from_secs(60))
        .unwrap()
}

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

async fn send_zeros(send: &mut s2n_quic::stream::SendStream, mut left: u64) -> Outcome {
    let chunk = Bytes::from(vec![0u8; if left > 0 { CHUNK } else { 0 }]);
    while left > 0 {
        let part = chunk.slice(..left.min(CHUNK as u64) as usize);
        left -= part.len() as u64;
        send.send(part).await?;
    }
    Ok(())
}

async fn answer(stream: BidirectionalStream) -> Outcome {
    let (mut recv, mut send) = stream.split();
    let mut head = Vec::new();
    while let Some(chunk) = recv.receive().await? {
        if head.len() < 8 {
            head.extend_from_slice(&chunk[..chunk.len().min(8 - head.len())]);
        }
    }
    send_zeros(&mut send, u64::from_be_bytes(head.as_slice().try_into()?)).await?;
    Ok(send.finish()?)
}

async fn serve(port: u16, cert: String, key: String) {
    let tls = tls::Server::builder()
        .with_certificate(Path::new(&cert), Path::new(&key))
        .unwrap()
        .with_application_protocols(["perf"].iter())
        .unwrap()
        .build()
        .unwrap();
    let mut server = Server::builder()
        .with_tls(tls)
        .unwrap()
        .with_limits(limits())
        .unwrap()
        .with_io(SocketAddr::from(([127, 0, 0, 1], port)))
        .unwrap()
        .start()
        .unwrap();
    println!("ready");
    while let Some(mut connection) = server.accept().await {
        tokio::spawn(async move {
            while let Ok(Some(stream)) = connection.accept_bidirectional_stream().await {
                tokio::spawn(answer(stream));
            }
        });
    }
}

async fn exchange(stream: BidirectionalStream, down: u64, up: u64) -> Outcome {
    let (mut recv, mut send) = stream.split();
    let upload = async {
        let mut head = down.to_be_bytes().to_vec();
        head.resize(up.clamp(8, 100) as usize, 0);
        let left = up.saturating_sub(head.len() as u64);
        send.send(Bytes::from(head)).await?;
        send_zeros(&mut send, left).await?;
        Ok(send.finish()?)
    };
    let download = async {
        let mut got = 0;
        while let Some(chunk) = recv.receive().await? {
            got += chunk.len() as u64;
        }
        if got == down { Ok(()) } else { Err(format!("{got} bytes of {down}").into()) }
    };
    tokio::try_join!(upload, download).map(|_| ())
}

async fn connect(client: &Client, server: SocketAddr) -> Result<Connection, connection::Error> {
    client.connect(Connect::new(server).with_server_name("localhost")).await
}

async fn handshake(client: Client, server: SocketAddr) -> Outcome {
    let mut connection = connect(&client, server).await?;
    exchange(connection.open_bidirectional_stream().await?, MESSAGE, MESSAGE).await?;
    connection.close(0u32.into());
    Ok(())
}

async fn load(port: u16, ca: String, load: Load) {
    let tls = tls::Client::builder()
        .with_certificate(Path::new(&ca))
        .unwrap()
        .with_application_protocols(["perf"].iter())
        .unwrap()
        .build()
        .unwrap();
    let client = Client::builder()
        .with_tls(tls)
        .unwrap()
        .with_limits(limits())
        .unwrap()
        .with_io(SocketAddr::from(([127, 0, 0, 1], 0)))
        .unwrap()
        .start()
        .unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    if let Load::Handshakes { count, at_once } = load {
        handshake(client.clone(), server).await.unwrap(); // aws-lc gathers randomness for 0.2 s when it is first asked for
        let _measured = Measured::begin();
        return tasks::handshakes(count, at_once, move || handshake(client.clone(), server)).await;
    }
    let connection = connect(&client, server).await.unwrap();
    let (mut handle, _acceptor) = connection.split();
    match load {
        Load::Bulk { down, up } => {
            let stream = handle.open_bidirectional_stream().await.unwrap();
            let _measured = Measured::begin();
            exchange(stream, down, up).await.unwrap();
        }
        Load::Requests { count, in_flight } => {
            let _measured = Measured::begin();
            let slots = Arc::new(Semaphore::new(in_flight as usize));
            for _ in 0..count {
                let slot = slots.clone().acquire_owned().await.unwrap();
                let mut handle = handle.clone();
                tokio::spawn(async move {
                    exchange(handle.open_bidirectional_stream().await.unwrap(), MESSAGE, MESSAGE).await.unwrap();
                    drop(slot);
                });
            }
            let _all = slots.acquire_many(in_flight as u32).await.unwrap();
        }
        Load::Handshakes { .. } => unreachable!(),
    }
    handle.close(0u32.into());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = args();
    match args.role {
        Role::Server { cert, key } => serve(args.port, cert, key).await,
        Role::Client { ca, load: what } => load(args.port, ca, what).await,
    }
}
