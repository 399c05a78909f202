//! quiche as a client and as a server of files: hq-interop, one `GET /path` a stream, the bare bytes back.
//!
//!     quiche-peer serve --root DIR --certificate FILE --key FILE [--listen ADDRESS:PORT] [options]
//!     quiche-peer get   --output DIR --ca FILE [options] ADDRESS:PORT PATH...
//!
//! The server prints "listening on ADDRESS:PORT" and "fingerprint sha256:-" (it reads no certificates), one line of JSON for
//! each connection that ended, and on SIGINT or SIGTERM it ends, without words: what ended is known from the lines.
//! The client prints one line of JSON. Exit codes: 0 all arrived, 1 something did not, 2 the command line was not
//! understood, 3 no connection.
//!
//! Both:   --keylog FILE
//! Server: --retry
//! Client: --server-name NAME; --each: a connection for each file, one after the other; --resume: the first file over one
//!         connection, the rest over a second that resumes it; --early: asking in 0-RTT packets then; --migrate ADDRESS:
//!         moves there when files come
use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    net::{IpAddr, SocketAddr},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use mio::net::UdpSocket;
use quiche::{Connection, ConnectionId};
use ring::{hmac, rand::SecureRandom, rand::SystemRandom};

type Anything<T> = Result<T, Box<dyn Error>>;

const NOT_FOUND: u64 = 0x104; // the code of RESET_STREAM for a file that is not there
const ID: usize = 20; // bytes of every connection ID: quiche takes all of ours for as long as the first
const SOME_TRAFFIC: usize = 100_000; // bytes: files are on their way
const FLAGS: [&str; 4] = ["retry", "each", "resume", "early"];

// ---- options --------------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Options {
    values: HashMap<String, String>,
    words: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Anything<Options> {
        let mut options = Options::default();
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
}

fn config(options: &Options) -> Anything<quiche::Config> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    config.set_application_protos(&[b"hq-interop"])?;
    config.set_max_idle_timeout(60_000); // a lossy handshake may wait for longer than half of it: time-outs double
    config.set_max_recv_udp_payload_size(1472);
    config.set_max_send_udp_payload_size(1452);
    config.set_initial_max_data(16 << 20);
    config.set_initial_max_stream_data_bidi_local(8 << 20);
    config.set_initial_max_stream_data_bidi_remote(1 << 20);
    config.set_initial_max_streams_bidi(100);
    config.set_active_connection_id_limit(4);
    config.enable_early_data();
    if options.has("keylog") {
        config.log_keys();
    }
    Ok(config)
}

fn keylog(options: &Options, connection: &mut Connection) -> Anything<()> {
    if let Some(path) = options.get("keylog") {
        connection.set_keylog(Box::new(OpenOptions::new().create(true).append(true).open(path)?));
    }
    Ok(())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("random bytes");
    bytes
}

fn beneath(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| root.join(relative))
}

// ---- sockets --------------------------------------------------------------------------------------------------------

/// The sockets of one side, and datagrams that wait: for their time (quiche paces), or for room in the socket.
struct Wire {
    poll: mio::Poll,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    waiting: VecDeque<(Vec<u8>, quiche::SendInfo)>,
    buffer: Vec<u8>,
}

impl Wire {
    fn new() -> Anything<Wire> {
        Ok(Wire { poll: mio::Poll::new()?, sockets: vec![], waiting: VecDeque::new(), buffer: vec![0; 65536] })
    }

    fn open(&mut self, address: SocketAddr) -> Anything<SocketAddr> {
        let mut socket = UdpSocket::bind(address)?;
        let token = mio::Token(self.sockets.len());
        self.poll.registry().register(&mut socket, token, mio::Interest::READABLE)?;
        let local = socket.local_addr()?;
        self.sockets.push((socket, local));
        Ok(local)
    }

    /// Waits for datagrams, at most so long and at most until one that waits is due.
    fn wait(&mut self, timeout: Option<Duration>) -> Anything<()> {
        let due = self.waiting.front().map(|(_, info)| info.at.saturating_duration_since(Instant::now()));
        let mut events = mio::Events::with_capacity(64);
        match self.poll.poll(&mut events, [timeout, due].into_iter().flatten().min()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn receive(&mut self) -> Option<(Vec<u8>, quiche::RecvInfo)> {
        for (socket, to) in &self.sockets {
            match socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => return Some((self.buffer[..len].to_vec(), quiche::RecvInfo { from, to: *to })),
                Err(_) => continue, // nothing there, or the peer's port is closed, which its silence tells as well
            }
        }
        None
    }

    fn send(&mut self, connection: &mut Connection) {
        let mut out = [0; 1500];
        while self.waiting.len() < 64 {
            match connection.send(&mut out) {
                Ok((len, info)) => self.waiting.push_back((out[..len].to_vec(), info)),
                Err(quiche::Error::Done) => break,
                Err(_) => {
                    connection.close(false, 1, b"").ok();
                    break;
                }
            }
        }
    }

    fn flush(&mut self) {
        while let Some((datagram, info)) = self.waiting.front() {
            if info.at > Instant::now() {
                return;
            }
            let socket = self.sockets.iter().find(|(_, local)| *local == info.from).unwrap_or(&self.sockets[0]);
            if matches!(socket.0.send_to(datagram, info.to), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                return;
            }
            self.waiting.pop_front();
        }
    }
}

// ---- server ---------------------------------------------------------------------------------------------------------

struct Client {
    connection: Connection,
    requests: HashMap<u64, Vec<u8>>,
    answers: HashMap<u64, (Vec<u8>, usize)>,
    answered: u64,
}

impl Client {
    fn answer(&mut self, stream: u64, root: &Path) {
        let request = self.requests.remove(&stream).unwrap_or_default();
        let line = String::from_utf8_lossy(&request).trim_end().to_string();
        let file = line.strip_prefix("GET ").and_then(|path| beneath(root, path)).filter(|path| path.is_file());
        self.answered += 1;
        match file.map(std::fs::read) {
            Some(Ok(bytes)) => {
                self.answers.insert(stream, (bytes, 0));
            }
            _ => {
                self.connection.stream_shutdown(stream, quiche::Shutdown::Write, NOT_FOUND).ok();
            }
        }
    }

    fn work(&mut self, root: &Path) {
        let mut buffer = [0; 8192];
        for stream in self.connection.readable().collect::<Vec<_>>() {
            while let Ok((len, end)) = self.connection.stream_recv(stream, &mut buffer) {
                self.requests.entry(stream).or_default().extend_from_slice(&buffer[..len]);
                if end {
                    self.answer(stream, root);
                }
            }
        }
        let connection = &mut self.connection;
        self.answers.retain(|stream, (bytes, sent)| match connection.stream_send(*stream, &bytes[*sent..], true) {
            Ok(len) => {
                *sent += len;
                *sent < bytes.len()
            }
            Err(quiche::Error::Done) => true,
            Err(_) => false,
        });
    }
}

struct Server {
    options: Options,
    config: quiche::Config,
    wire: Wire,
    root: PathBuf,
    clients: HashMap<u64, Client>,
    ids: HashMap<Vec<u8>, u64>, // connection ID -> client
    born: u64,
    key: hmac::Key, // for Retry tokens
}

impl Server {
    fn address_bytes(address: &SocketAddr) -> Vec<u8> {
        let mut bytes = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes.extend_from_slice(&address.port().to_be_bytes());
        bytes
    }

    /// The original connection ID in a token, if the token is ours and for this address.
    fn original(&self, token: &[u8], from: &SocketAddr) -> Option<Vec<u8>> {
        let (tag, id) = (token.get(..32)?, token.get(32..)?);
        hmac::verify(&self.key, &[Self::address_bytes(from), id.to_vec()].concat(), tag).ok()?;
        Some(id.to_vec())
    }

    fn retry(&mut self, header: &quiche::Header, info: quiche::RecvInfo) -> Anything<()> {
        let tag = hmac::sign(&self.key, &[Self::address_bytes(&info.from), header.dcid.to_vec()].concat());
        let token = [tag.as_ref(), &header.dcid].concat();
        let id = random::<ID>();
        let mut out = [0; 1500];
        let id = ConnectionId::from_ref(&id);
        let len = quiche::retry(&header.scid, &header.dcid, &id, &token, header.version, &mut out)?;
        self.reply(&out[..len], info);
        Ok(())
    }

    fn reply(&mut self, datagram: &[u8], info: quiche::RecvInfo) {
        self.wire
            .waiting
            .push_front((datagram.to_vec(), quiche::SendInfo { from: info.to, to: info.from, at: Instant::now() }));
    }

    /// A new connection for this Initial; None: answered otherwise, or dropped.
    fn accept(&mut self, header: &quiche::Header, info: quiche::RecvInfo) -> Anything<Option<u64>> {
        let mut out = [0; 1500];
        if !quiche::version_is_supported(header.version) {
            let len = quiche::negotiate_version(&header.scid, &header.dcid, &mut out)?;
            self.reply(&out[..len], info);
            return Ok(None);
        }
        if header.ty != quiche::Type::Initial {
            return Ok(None);
        }
        let mut id = random::<ID>().to_vec();
        let mut original = None;
        if self.options.has("retry") {
            let token = header.token.as_deref().unwrap_or_default();
            if token.is_empty() {
                self.retry(header, info)?;
                return Ok(None);
            }
            original = self.original(token, &info.from);
            if original.is_none() {
                return Ok(None);
            }
            id = header.dcid.to_vec(); // which our Retry has chosen
        }
        let original = original.as_deref().map(ConnectionId::from_ref);
        let scid = ConnectionId::from_ref(&id);
        let mut connection = quiche::accept(&scid, original.as_ref(), info.to, info.from, &mut self.config)?;
        keylog(&self.options, &mut connection)?;
        self.born += 1;
        self.ids.insert(id.clone(), self.born);
        self.ids.insert(header.dcid.to_vec(), self.born);
        let client = Client { connection, requests: HashMap::new(), answers: HashMap::new(), answered: 0 };
        self.clients.insert(self.born, client);
        Ok(Some(self.born))
    }

    fn take(&mut self, mut datagram: Vec<u8>, info: quiche::RecvInfo) -> Anything<()> {
        let Ok(header) = quiche::Header::from_slice(&mut datagram, ID) else { return Ok(()) };
        let known = self.ids.get(header.dcid.as_ref()).copied();
        let number = match known {
            Some(number) => Some(number),
            None => self.accept(&header, info)?,
        };
        let Some(client) = number.and_then(|number| self.clients.get_mut(&number)) else { return Ok(()) };
        client.connection.recv(&mut datagram, info).ok(); // what is wrong with it, the connection tells the peer
        if client.connection.is_established() || client.connection.is_in_early_data() {
            client.work(&self.root);
        }
        while client.connection.is_established() && client.connection.scids_left() > 0 {
            let id = random::<ID>();
            let token = u128::from_be_bytes(random());
            if client.connection.new_scid(&ConnectionId::from_ref(&id), token, false).is_err() {
                break;
            }
            self.ids.insert(id.to_vec(), number.unwrap());
        }
        while client.connection.path_event_next().is_some() {} // quiche does what is to be done by itself
        Ok(())
    }

    fn run(&mut self) -> Anything<i32> {
        loop {
            let timeout = self.clients.values().filter_map(|client| client.connection.timeout()).min();
            self.wire.wait(timeout)?;
            while let Some((datagram, info)) = self.wire.receive() {
                self.take(datagram, info)?;
            }
            for client in self.clients.values_mut() {
                if client.connection.timeout().is_some_and(|left| left.is_zero()) {
                    client.connection.on_timeout();
                }
                client.work(&self.root);
                self.wire.send(&mut client.connection);
            }
            self.wire.flush();
            self.clients.retain(|_, client| {
                if client.connection.is_closed() {
                    let clean = client.connection.peer_error().is_some_and(|error| error.is_app && error.error_code == 0);
                    println!("{{\"requests\": {}, \"clean\": {clean}}}", client.answered);
                }
                !client.connection.is_closed()
            });
            let clients = &self.clients;
            self.ids.retain(|_, number| clients.contains_key(number));
        }
    }
}

fn serve(options: Options) -> Anything<i32> {
    let mut config = config(&options)?;
    config.load_cert_chain_from_pem_file(options.need("certificate")?)?;
    config.load_priv_key_from_pem_file(options.need("key")?)?;
    let mut wire = Wire::new()?;
    let local = wire.open(options.get("listen").unwrap_or("127.0.0.1:0").parse()?)?;
    println!("listening on {local}\nfingerprint sha256:-");
    let root = PathBuf::from(options.need("root")?);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>());
    let (clients, ids) = (HashMap::new(), HashMap::new());
    Server { options, config, wire, root, clients, ids, born: 0, key }.run()
}

// ---- client ---------------------------------------------------------------------------------------------------------

struct Transfer {
    path: String,
    file: File,
}

struct Downloader<'a> {
    options: &'a Options,
    wire: Wire,
    connection: Connection,
    peer: SocketAddr,
    unasked: VecDeque<String>,
    unsent: HashMap<u64, Vec<u8>>, // the rest of requests that did not fit
    next_stream: u64,
    transfers: HashMap<u64, Transfer>,
    moving: bool,
    bytes: usize,
    failed: Vec<String>,
}

impl Downloader<'_> {
    fn ask(&mut self) -> Anything<()> {
        let output = PathBuf::from(self.options.need("output")?);
        let connection = &mut self.connection;
        self.unsent.retain(|stream, rest| {
            let sent = connection.stream_send(*stream, rest, true).unwrap_or(0);
            rest.drain(..sent);
            !rest.is_empty()
        });
        while let Some(path) = self.unasked.front().cloned() {
            let request = format!("GET {path}\r\n").into_bytes();
            match self.connection.stream_send(self.next_stream, &request, true) {
                Ok(sent) if sent < request.len() => {
                    self.unsent.insert(self.next_stream, request[sent..].to_vec());
                }
                Ok(_) => (),
                Err(quiche::Error::StreamLimit | quiche::Error::Done) => break,
                Err(error) => return Err(error.into()),
            }
            let file = File::create(beneath(&output, &path).ok_or("no such name")?)?;
            self.transfers.insert(self.next_stream, Transfer { path, file });
            self.next_stream += 4;
            self.unasked.pop_front();
        }
        Ok(())
    }

    fn read(&mut self) -> Anything<()> {
        let mut buffer = [0; 65536];
        for stream in self.connection.readable().collect::<Vec<_>>() {
            loop {
                match self.connection.stream_recv(stream, &mut buffer) {
                    Ok((len, end)) => {
                        self.bytes += len;
                        if let Some(transfer) = self.transfers.get_mut(&stream) {
                            transfer.file.write_all(&buffer[..len])?;
                        }
                        if end {
                            self.transfers.remove(&stream);
                        }
                    }
                    Err(quiche::Error::Done) => break,
                    Err(error) => {
                        if let Some(transfer) = self.transfers.remove(&stream) {
                            let output = PathBuf::from(self.options.need("output")?);
                            std::fs::remove_file(beneath(&output, &transfer.path).unwrap())?;
                            self.failed.push(format!("{}: {error}", transfer.path));
                        }
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Connection IDs for the server, and a move to another address of ours once files come.
    fn paths(&mut self, migrate: Option<IpAddr>) -> Anything<()> {
        while self.connection.is_established() && self.connection.scids_left() > 0 {
            let (id, token) = (random::<ID>(), u128::from_be_bytes(random()));
            self.connection.new_scid(&ConnectionId::from_ref(&id), token, false)?;
        }
        if let Some(address) = migrate {
            let ready = self.connection.available_dcids() > 0 && self.bytes > SOME_TRAFFIC;
            if ready && !self.moving {
                self.moving = true;
                let local = self.wire.open(SocketAddr::new(address, 0))?;
                self.connection.migrate(local, self.peer)?;
            }
        }
        while self.connection.path_event_next().is_some() {} // quiche does what is to be done by itself
        Ok(())
    }

    fn run(&mut self, migrate: Option<IpAddr>, want_session: bool) -> Anything<bool> {
        let mut established = false;
        loop {
            self.wire.send(&mut self.connection);
            self.wire.flush();
            let timeout = self.connection.timeout();
            self.wire.wait(timeout)?;
            while let Some((mut datagram, info)) = self.wire.receive() {
                self.connection.recv(&mut datagram, info).ok(); // what is wrong with it, the connection tells the peer
            }
            if self.connection.timeout().is_some_and(|left| left.is_zero()) {
                self.connection.on_timeout();
            }
            if self.connection.is_established() || self.connection.is_in_early_data() {
                established |= self.connection.is_established();
                self.ask()?;
                self.read()?;
                self.paths(migrate)?;
            }
            let done = established && self.unasked.is_empty() && self.transfers.is_empty();
            if done && (!want_session || self.connection.session().is_some()) {
                self.connection.close(true, 0, b"").ok();
                self.wire.send(&mut self.connection);
                self.wire.flush();
                while !self.wire.waiting.is_empty() {
                    self.wire.wait(None)?;
                    self.wire.flush();
                }
                return Ok(established); // without its closing period: three time-outs, which losses have made long
            }
            if self.connection.is_closed() {
                return Ok(established);
            }
        }
    }
}

fn get(options: &Options) -> Anything<i32> {
    let [address, paths @ ..] = options.words.as_slice() else { return Err("ADDRESS:PORT PATH...".into()) };
    let peer: SocketAddr = address.parse()?;
    let groups: Vec<&[String]> = if options.has("each") {
        paths.chunks(1).collect()
    } else if options.has("resume") {
        vec![&paths[..1], &paths[1..]]
    } else {
        vec![paths]
    };
    let mut config = config(options)?;
    config.load_verify_locations_from_file(options.need("ca")?)?;
    config.verify_peer(true);
    let (mut session, mut code, mut bytes) = (None::<Vec<u8>>, 0, 0);
    for (i, group) in groups.iter().enumerate() {
        let last = i + 1 == groups.len();
        let mut wire = Wire::new()?;
        let local = wire.open(if peer.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse()?)?;
        let id = random::<ID>();
        let name = options.get("server-name");
        let mut connection = quiche::connect(name, &ConnectionId::from_ref(&id), local, peer, &mut config)?;
        keylog(options, &mut connection)?;
        if let Some(session) = &session {
            connection.set_session(session)?;
        }
        let mut downloader = Downloader {
            options,
            wire,
            connection,
            peer,
            unasked: group.iter().cloned().collect(),
            unsent: HashMap::new(),
            next_stream: 0,
            transfers: HashMap::new(),
            moving: false,
            bytes: 0,
            failed: vec![],
        };
        if session.is_some() && options.has("early") {
            downloader.wire.send(&mut downloader.connection); // the ClientHello, after which there is early data
            downloader.ask()?;
        }
        let migrate = options.get("migrate").filter(|_| last).map(str::parse).transpose()?;
        let established = downloader.run(migrate, options.has("resume") && !last)?;
        session = downloader.connection.session().map(<[u8]>::to_vec);
        bytes += downloader.bytes;
        let left = downloader.unasked.len() + downloader.transfers.len();
        for failure in &downloader.failed {
            eprintln!("quiche-peer: {failure}");
        }
        if left > 0 || !downloader.failed.is_empty() {
            eprintln!("quiche-peer: {left} files are missing, {:?}", downloader.connection.local_error());
            code = 1;
        }
        if !established {
            eprintln!("quiche-peer: no connection, {:?}", downloader.connection.local_error());
            code = 3;
            break;
        }
    }
    println!("{{\"connected\": {}, \"bytes\": {bytes}}}", code != 3);
    Ok(code)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let outcome = match (command.as_str(), Options::parse(arguments)) {
        ("serve", Ok(options)) => serve(options),
        ("get", Ok(options)) => get(&options),
        (_, Err(error)) => Err(error),
        _ => Err("serve or get?".into()),
    };
    std::process::exit(outcome.unwrap_or_else(|error| {
        eprintln!("quiche-peer: {error}");
        2
    }));
}
