//! quiche, with windows that never limit, trains of up to 45 datagrams by GSO, GRO, and no waiting for its pacer: without
//! SO_TXTIME and a queueing discipline that honours it, quiche-server does the same.
//!
//! quiche does neither I/O nor timers: `Wire` is the socket, `turn` what every user of quiche writes.
#[allow(dead_code)]
#[path = "../../rust/src/lib.rs"]
mod shared;

use quiche::{Connection, ConnectionId};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState, BATCH_SIZE};
use ring::rand::{SecureRandom, SystemRandom};
use shared::{args, Load, Measured, Role, Turns, CHUNK, MESSAGE};
use std::{
    cmp::Reverse,
    collections::{binary_heap::PeekMut, BinaryHeap, HashMap},
    io::{ErrorKind, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

const DATAGRAM: usize = 1452;
const TRAIN: usize = 65507 / DATAGRAM; // what one datagram of UDP may hold before it is cut up

fn config() -> quiche::Config {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
    config.set_application_protos(&[b"perf"]).unwrap();
    config.set_max_idle_timeout(30_000);
    config.set_max_recv_udp_payload_size(65527);
    config.set_max_send_udp_payload_size(DATAGRAM);
    config.set_initial_max_data(32 << 20);
    config.set_max_connection_window(32 << 20);
    config.set_initial_max_stream_data_bidi_local(16 << 20);
    config.set_initial_max_stream_data_bidi_remote(16 << 20);
    config.set_max_stream_window(16 << 20);
    config.set_initial_max_streams_bidi(1000);
    config.enable_pacing(false);
    config
}

fn random_id() -> ConnectionId<'static> {
    let mut bytes = vec![0; 16];
    SystemRandom::new().fill(&mut bytes).unwrap();
    ConnectionId::from_vec(bytes)
}

// ---- the socket -----------------------------------------------------------------------------------------------------

struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    input: Vec<Vec<u8>>,
    output: Vec<u8>,
}

impl Wire {
    fn open(port: u16) -> Wire {
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let state = UdpSocketState::new((&socket).into()).unwrap();
        for size in [4 << 20, 2 << 20] {
            if state.set_recv_buffer_size((&socket).into(), size).is_ok() {
                break;
            }
        }
        let local = socket.local_addr().unwrap();
        Wire { socket, state, local, input: vec![vec![0; 65536]; BATCH_SIZE], output: vec![0; TRAIN * DATAGRAM] }
    }

    fn wait(&self, events: i16, timeout: Option<Duration>) {
        let mut fd = libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 };
        let time = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        let at = time.as_ref().map_or(std::ptr::null(), |time| time as *const _);
        // SAFETY: one pollfd, and a time that lives until the call returns, or none.
        unsafe { libc::ppoll(&mut fd, 1, at, std::ptr::null()) };
    }

    /// Every datagram of one receive call, GRO undone.
    fn receive(&mut self, mut each: impl FnMut(&mut [u8], quiche::RecvInfo)) {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<_> = self.input.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let count = match self.state.recv((&self.socket).into(), &mut slices, &mut meta) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("receive: {error}"),
        };
        for (meta, buffer) in meta.iter().zip(&mut self.input).take(count) {
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                each(datagram, quiche::RecvInfo { from: meta.addr, to: self.local });
            }
        }
    }

    fn transmit(&self, to: SocketAddr, len: usize, segment: usize) {
        let segment_size = (len > segment).then_some(segment);
        let what = Transmit { destination: to, ecn: None, contents: &self.output[..len], segment_size, src_ip: None };
        while let Err(error) = self.state.try_send((&self.socket).into(), &what) {
            match error.kind() {
                ErrorKind::WouldBlock => self.wait(libc::POLLOUT, None),
                _ => panic!("send: {error}"),
            }
        }
    }

    /// All the connection may send now, in trains of datagrams of one size, the last of each perhaps shorter.
    fn send(&mut self, connection: &mut Connection) {
        let most = self.state.max_gso_segments().min(TRAIN) * DATAGRAM;
        let (mut len, mut segment, mut to) = (0, 0, self.local);
        loop {
            let Ok((got, info)) = connection.send(&mut self.output[len..len + DATAGRAM]) else { break };
            if len > 0 && (got > segment || info.to != to) {
                self.transmit(to, len, segment);
                self.output.copy_within(len..len + got, 0);
                len = 0;
            }
            if len == 0 {
                (segment, to) = (got, info.to);
            }
            len += got;
            if got < segment || len + DATAGRAM > most {
                self.transmit(to, len, segment);
                len = 0;
            }
        }
        if len > 0 {
            self.transmit(to, len, segment);
        }
    }
}

// ---- server ---------------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    left: u64,
    asked: bool,
}

struct Client {
    connection: Connection,
    names: [ConnectionId<'static>; 2],
    answers: HashMap<u64, Answer>,
    touched: bool,
    due: Option<Instant>, // its soonest entry among the timers
}

fn write_answer(connection: &mut Connection, stream: u64, answer: &mut Answer, zeros: &[u8]) -> bool {
    loop {
        let part = answer.left.min(CHUNK as u64) as usize;
        match connection.stream_send(stream, &zeros[..part], part as u64 == answer.left) {
            Ok(sent) => answer.left -= sent as u64,
            Err(quiche::Error::Done) => return false,
            Err(_) => return true,
        }
        if answer.left == 0 {
            return true;
        }
    }
}

impl Client {
    fn work(&mut self, buffer: &mut [u8], zeros: &[u8]) {
        for stream in self.connection.readable() {
            let answer = self.answers.entry(stream).or_default();
            while let Ok((len, fin)) = self.connection.stream_recv(stream, buffer) {
                let more = len.min(8 - answer.head.len());
                answer.head.extend_from_slice(&buffer[..more]);
                if fin && answer.head.len() == 8 {
                    answer.left = u64::from_be_bytes(answer.head[..].try_into().unwrap());
                    answer.asked = true;
                }
                if fin {
                    break;
                }
            }
            if answer.asked && write_answer(&mut self.connection, stream, answer, zeros) {
                self.answers.remove(&stream);
            }
        }
        for stream in self.connection.writable() {
            let Some(answer) = self.answers.get_mut(&stream).filter(|answer| answer.asked) else { continue };
            if write_answer(&mut self.connection, stream, answer, zeros) {
                self.answers.remove(&stream);
            }
        }
    }
}

fn serve(port: u16, cert: String, key: String) {
    let mut config = config();
    config.load_cert_chain_from_pem_file(&cert).unwrap();
    config.load_priv_key_from_pem_file(&key).unwrap();
    let mut wire = Wire::open(port);
    let (mut clients, mut names) = (HashMap::<u64, Client>::new(), HashMap::<ConnectionId<'static>, u64>::new());
    let (mut next, mut buffer, zeros) = (0, vec![0; CHUNK], vec![0; CHUNK]);
    let (mut timers, mut touched) = (BinaryHeap::<Reverse<(Instant, u64)>>::new(), Vec::new());
    println!("ready");
    loop {
        let timeout = timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
        wire.wait(libc::POLLIN, timeout);
        wire.receive(|datagram, info| {
            let Ok(header) = quiche::Header::from_slice(datagram, 16) else { return };
            let number = names.get(&header.dcid).copied().or_else(|| {
                if header.ty != quiche::Type::Initial {
                    return None;
                }
                let name = random_id();
                let connection = quiche::accept(&name, None, info.to, info.from, &mut config).ok()?;
                next += 1;
                let known = [name, header.dcid.into_owned()];
                names.extend(known.iter().map(|name| (name.clone(), next)));
                let answers = HashMap::new();
                clients.insert(next, Client { connection, names: known, answers, touched: false, due: None });
                Some(next)
            });
            let Some(number) = number else { return };
            let Some(client) = clients.get_mut(&number) else { return };
            client.connection.recv(datagram, info).ok();
            if !std::mem::replace(&mut client.touched, true) {
                touched.push(number);
            }
        });
        let now = Instant::now();
        while let Some(due) = timers.peek_mut().filter(|due| due.0.0 <= now) {
            let number = PeekMut::pop(due).0.1;
            let Some(client) = clients.get_mut(&number) else { continue };
            client.due = None;
            client.connection.on_timeout(); // which looks itself whether it is time
            if !std::mem::replace(&mut client.touched, true) {
                touched.push(number);
            }
        }
        for number in touched.drain(..) {
            let client = clients.get_mut(&number).unwrap();
            client.touched = false;
            client.work(&mut buffer, &zeros);
            wire.send(&mut client.connection);
            if client.connection.is_closed() {
                for name in &client.names {
                    names.remove(name);
                }
                clients.remove(&number);
            } else if let Some(at) = client.connection.timeout_instant() {
                if client.due.is_none_or(|due| at < due) {
                    client.due = Some(at);
                    timers.push(Reverse((at, number)));
                }
            }
        }
    }
}

// ---- client ---------------------------------------------------------------------------------------------------------

type Askers = HashMap<ConnectionId<'static>, Asker>;

/// One connection, and the requests that run on it.
struct Asker {
    connection: Connection,
    unsent: HashMap<u64, u64>, // of each stream: bytes still to be written; the head is written at once
    left: HashMap<u64, u64>,   // ... and to be received
    next_stream: u64,
    done: u64,
    touched: bool,
}

impl Asker {
    /// Begins a connection; it is one of the askers from now on.
    fn connect(
        wire: &mut Wire,
        config: &mut quiche::Config,
        server: SocketAddr,
        askers: &mut Askers,
    ) -> ConnectionId<'static> {
        let name = random_id();
        let mut connection = quiche::connect(Some("localhost"), &name, wire.local, server, config).unwrap();
        wire.send(&mut connection);
        let (unsent, left) = (HashMap::new(), HashMap::new());
        askers.insert(name.clone(), Asker { connection, unsent, left, next_stream: 0, done: 0, touched: false });
        name
    }

    fn ask(&mut self, down: u64, up: u64) {
        let stream = self.next_stream;
        self.next_stream += 4;
        assert_eq!(self.connection.stream_send(stream, &down.to_be_bytes(), up <= 8), Ok(8));
        self.left.insert(stream, down);
        if up > 8 {
            self.unsent.insert(stream, up - 8);
        }
    }

    fn write(&mut self, zeros: &[u8]) {
        let connection = &mut self.connection;
        self.unsent.retain(|stream, left| {
            while *left > 0 {
                let part = (*left).min(CHUNK as u64) as usize;
                match connection.stream_send(*stream, &zeros[..part], part as u64 == *left) {
                    Ok(sent) => *left -= sent as u64,
                    Err(quiche::Error::Done) => return true,
                    Err(error) => panic!("stream {stream}: {error}"),
                }
            }
            false
        });
    }

    fn read(&mut self, buffer: &mut [u8]) {
        for stream in self.connection.readable() {
            while let Ok((len, fin)) = self.connection.stream_recv(stream, buffer) {
                *self.left.get_mut(&stream).unwrap() -= len as u64;
                if fin {
                    assert_eq!(self.left.remove(&stream), Some(0));
                    self.done += 1;
                    break;
                }
            }
        }
    }

    fn close(mut self, wire: &mut Wire) {
        self.connection.close(true, 0, b"").ok();
        wire.send(&mut self.connection);
    }

    fn why_closed(&self) -> Option<String> {
        let connection = &self.connection;
        let why = || format!("closed: {:?} {:?}", connection.local_error(), connection.peer_error());
        connection.is_closed().then(why)
    }
}

/// Waits for what comes next, and gives it to whom it concerns: those are `touched`, and have read.
fn turn(wire: &mut Wire, askers: &mut Askers, buffer: &mut [u8]) {
    wire.wait(libc::POLLIN, askers.values().filter_map(|asker| asker.connection.timeout()).min());
    wire.receive(|datagram, info| {
        let Ok(header) = quiche::Header::from_slice(datagram, 16) else { return };
        // None: the last words of a connection that is gone.
        if let Some(asker) = askers.get_mut(&header.dcid) {
            asker.connection.recv(datagram, info).ok();
            asker.touched = true;
        }
    });
    let now = Instant::now();
    for asker in askers.values_mut() {
        if asker.connection.timeout_instant().is_some_and(|at| at <= now) {
            asker.connection.on_timeout();
            asker.touched = true;
        }
        if asker.touched {
            asker.read(buffer);
        }
    }
}

/// Runs `count` requests on the only connection, `in_flight` at a time.
fn requests(wire: &mut Wire, askers: &mut Askers, count: u64, in_flight: u64, down: u64, up: u64) {
    let (mut buffer, zeros) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut asked = 0;
    loop {
        let asker = askers.values_mut().next().unwrap();
        assert_eq!(asker.why_closed(), None);
        if asker.done == count {
            return;
        }
        while asked < count && asked - asker.done < in_flight && asker.connection.peer_streams_left_bidi() > 0 {
            asker.ask(down, up);
            asked += 1;
        }
        asker.write(&zeros);
        wire.send(&mut asker.connection);
        turn(wire, askers, &mut buffer);
    }
}

/// Each asks once, when it is established, and is closed when it has its answer; `at_once` of them, on one socket.
fn handshakes(wire: &mut Wire, config: &mut quiche::Config, server: SocketAddr, count: u64, at_once: u64) {
    let (mut askers, turns) = (Askers::new(), Turns::new(count));
    let (mut buffer, zeros) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        while askers.len() < at_once as usize && turns.take() {
            Asker::connect(wire, config, server, &mut askers);
        }
        if askers.is_empty() {
            return turns.tell();
        }
        turn(wire, &mut askers, &mut buffer);
        let over = |asker: &Asker| asker.done == 1 || asker.connection.is_closed();
        for asker in askers.values_mut().filter(|asker| asker.touched && !over(asker)) {
            asker.touched = false;
            if asker.connection.is_established() && asker.next_stream == 0 {
                asker.ask(MESSAGE, MESSAGE);
                asker.write(&zeros);
            }
            wire.send(&mut asker.connection);
        }
        for (_, asker) in askers.extract_if(|_, asker| over(asker)) {
            turns.over(if asker.done == 1 { Ok(()) } else { Err(asker.why_closed().unwrap_or_default()) });
            asker.close(wire);
        }
    }
}

fn load(port: u16, ca: String, load: Load) {
    let mut config = config();
    config.load_verify_locations_from_file(&ca).unwrap();
    config.verify_peer(false); // BoringSSL wants the anchor to be an authority, which this certificate is not
    let (mut wire, server) = (Wire::open(0), SocketAddr::from(([127, 0, 0, 1], port)));
    if let Load::Handshakes { count, at_once } = load {
        let _measured = Measured::begin();
        return handshakes(&mut wire, &mut config, server, count, at_once);
    }
    let mut askers = Askers::new();
    let name = Asker::connect(&mut wire, &mut config, server, &mut askers);
    let mut buffer = vec![0; CHUNK];
    while !askers[&name].connection.is_established() {
        turn(&mut wire, &mut askers, &mut buffer);
        wire.send(&mut askers.get_mut(&name).unwrap().connection);
    }
    {
        let _measured = Measured::begin();
        match load {
            Load::Bulk { down, up } => requests(&mut wire, &mut askers, 1, 1, down, up),
            Load::Requests { count, in_flight } => requests(&mut wire, &mut askers, count, in_flight, MESSAGE, MESSAGE),
            Load::Handshakes { .. } => unreachable!(),
        }
    }
    askers.remove(&name).unwrap().close(&mut wire);
}

fn main() {
    let args = args();
    match args.role {
        Role::Server { cert, key } => serve(args.port, cert, key),
        Role::Client { ca, load: what } => load(args.port, ca, what),
    }
}
