//! s2n-quic, with windows that never limit and its own defaults besides (GSO and GRO on).
use bytes::Bytes;
use s2n_quic::{
    client::Connect,
    provider::{limits::Limits, tls::rustls as tls},
    stream::BidirectionalStream,
    Client, Connection, Server,
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use weft_bench_peers::{args, Load, Measured, Role, CHUNK, MESSAGE};

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

async fn send_zeros(send: &mut s2n_quic::stream::SendStream, mut left: u64) -> Option<()> {
    let chunk = Bytes::from(vec![0u8; if left > 0 { CHUNK } else { 0 }]);
    while left > 0 {
        let part = chunk.slice(..left.min(CHUNK as u64) as usize);
        left -= part.len() as u64;
        send.send(part).await.ok()?;
    }
    Some(())
}

async fn answer(stream: BidirectionalStream) -> Option<()> {
    let (mut recv, mut send) = stream.split();
    let mut head = Vec::new();
    while let Some(chunk) = recv.receive().await.ok()? {
        if head.len() < 8 {
            head.extend_from_slice(&chunk[..chunk.len().min(8 - head.len())]);
        }
    }
    send_zeros(&mut send, u64::from_be_bytes(head.try_into().ok()?)).await?;
    send.finish().ok()
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

async fn exchange(stream: BidirectionalStream, down: u64, up: u64) {
    let (mut recv, mut send) = stream.split();
    let upload = async {
        let mut head = down.to_be_bytes().to_vec();
        head.resize(up.clamp(8, 100) as usize, 0);
        let left = up.saturating_sub(head.len() as u64);
        send.send(Bytes::from(head)).await.unwrap();
        send_zeros(&mut send, left).await.unwrap();
        send.finish().unwrap();
    };
    let download = async {
        let mut got = 0;
        while let Some(chunk) = recv.receive().await.unwrap() {
            got += chunk.len() as u64;
        }
        assert_eq!(got, down);
    };
    tokio::join!(upload, download);
}

async fn connect(client: &Client, server: SocketAddr) -> Connection {
    client.connect(Connect::new(server).with_server_name("localhost")).await.unwrap()
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
    if let Load::Handshakes(count) = load {
        let _measured = Measured::begin();
        for _ in 0..count {
            let mut connection = connect(&client, server).await;
            exchange(connection.open_bidirectional_stream().await.unwrap(), MESSAGE, MESSAGE).await;
            connection.close(0u32.into());
        }
        return;
    }
    let connection = connect(&client, server).await;
    let (mut handle, _acceptor) = connection.split();
    match load {
        Load::Bulk { down, up } => {
            let stream = handle.open_bidirectional_stream().await.unwrap();
            let _measured = Measured::begin();
            exchange(stream, down, up).await;
        }
        Load::Requests { count, in_flight } => {
            let _measured = Measured::begin();
            let slots = Arc::new(Semaphore::new(in_flight as usize));
            for _ in 0..count {
                let slot = slots.clone().acquire_owned().await.unwrap();
                let mut handle = handle.clone();
                tokio::spawn(async move {
                    exchange(handle.open_bidirectional_stream().await.unwrap(), MESSAGE, MESSAGE).await;
                    drop(slot);
                });
            }
            let _all = slots.acquire_many(in_flight as u32).await.unwrap();
        }
        Load::Handshakes(_) => unreachable!(),
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
