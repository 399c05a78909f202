//! MsQuic, with windows that never limit, the profile for most throughput, no copy of what is sent (its buffering is off, as
//! in its own secnetperf; as much is under way as it says is ideal), AES-128-GCM, and one worker on the core it is given.
//!
//! MsQuic calls back on its worker; what a stream has still to send or to get lives in the callback's closure.
#[allow(dead_code)]
#[path = "../../rust/src/lib.rs"]
mod shared;

use msquic::{
    ffi, Addr, AllowedCipherSuiteFlags, Api, BufferRef, CertificateFile, Configuration, Connection, ConnectionEvent,
    ConnectionRef, ConnectionShutdownFlags, Credential, CredentialConfig, ExecutionProfile, Listener, ListenerEvent,
    Registration, RegistrationConfig, SendFlags, Settings, Stream, StreamEvent, StreamOpenFlags, StreamRef,
    StreamShutdownFlags, StreamStartFlags,
};
use shared::{args, Load, Measured, Role, Turns, CHUNK, MESSAGE};
use std::{
    ffi::c_void,
    mem::{size_of, ManuallyDrop},
    net::SocketAddr,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{channel, Sender},
        Arc, Mutex,
    },
};

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// One worker, on the first core of those this process may use.
fn one_worker() {
    // SAFETY: a plain set of bits, and a structure whose size is told.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        let core = (0..1024).find(|core| libc::CPU_ISSET(*core, &set)).unwrap_or(0) as u16;
        let config = ffi::QUIC_GLOBAL_EXECUTION_CONFIG {
            Flags: ffi::QUIC_GLOBAL_EXECUTION_CONFIG_FLAGS_QUIC_GLOBAL_EXECUTION_CONFIG_FLAG_NONE,
            PollingIdleTimeoutUs: 0,
            ProcessorCount: 1,
            ProcessorList: [core],
        };
        Api::get_ffi();
        Api::set_param(
            std::ptr::null_mut(),
            ffi::QUIC_PARAM_GLOBAL_EXECUTION_CONFIG,
            size_of::<ffi::QUIC_GLOBAL_EXECUTION_CONFIG>() as u32,
            &config as *const _ as *const c_void,
        )
        .unwrap();
    }
}

fn registration() -> Registration {
    one_worker();
    Registration::new(&RegistrationConfig::new().set_execution_profile(ExecutionProfile::MaxThroughput)).unwrap()
}

fn configuration(registration: &Registration, credential: CredentialConfig) -> Configuration {
    let settings = Settings::new()
        .set_IdleTimeoutMs(30_000)
        .set_StreamRecvWindowDefault(16 << 20)
        .set_ConnFlowControlWindow(32 << 20)
        .set_PeerBidiStreamCount(1000);
    let mut raw = *settings.as_ffi_ref();
    raw.set_SendBufferingEnabled(0);
    // SAFETY: a bit of a union that is one of bits.
    unsafe { raw.__bindgen_anon_1.IsSet.set_SendBufferingEnabled(1) };
    let configuration = Configuration::open(registration, &[BufferRef::from("perf")], Some(&settings)).unwrap();
    // SAFETY: the structure lives until the call returns, and its size is told.
    unsafe {
        let at = &raw as *const _ as *const c_void;
        let size = size_of::<ffi::QUIC_SETTINGS>() as u32;
        Api::set_param(configuration.as_raw(), ffi::QUIC_PARAM_CONFIGURATION_SETTINGS, size, at).unwrap();
    }
    let credential = credential.set_allowed_cipher_suites(AllowedCipherSuiteFlags::AES_128_GCM_SHA256);
    configuration.load_credential(&credential).unwrap();
    configuration
}

/// What one side of a stream sends: a head, then zeros, then its end.
struct Outgoing {
    head: Box<[u8]>,
    left: u64,
    under_way: u64,
    ideal: u64,
    // MsQuic reads these until it says SendComplete: they live as long as the stream.
    pieces: Box<[[BufferRef; 1]; 3]>,
}

impl Outgoing {
    fn new(head: &[u8], zeros: u64) -> Outgoing {
        let head: Box<[u8]> = head.into();
        let last = zeros % CHUNK as u64;
        let pieces = [[BufferRef::from(&*head)], [BufferRef::from(&ZEROS[..])], [BufferRef::from(&ZEROS[..last as usize])]];
        Outgoing { head, left: zeros, under_way: 0, ideal: 128 << 10, pieces: Box::new(pieces) }
    }

    fn piece(&mut self, stream: &Stream, which: usize) {
        let len = self.pieces[which][0].as_bytes().len();
        self.under_way += len as u64;
        let flags = if self.left == 0 { SendFlags::FIN } else { SendFlags::NONE };
        // SAFETY: the piece, and what it shows, live as long as the stream does.
        unsafe { stream.send(&self.pieces[which], flags, len as *const c_void) }.unwrap();
    }

    fn begin(&mut self, stream: &Stream) {
        if !self.head.is_empty() {
            self.piece(stream, 0);
        } else if self.left == 0 {
            stream.shutdown(StreamShutdownFlags::GRACEFUL, 0).unwrap();
        }
        self.go_on(stream);
    }

    fn go_on(&mut self, stream: &Stream) {
        while self.left > 0 && self.under_way < self.ideal {
            let len = self.left.min(CHUNK as u64);
            self.left -= len;
            self.piece(stream, if len == CHUNK as u64 { 1 } else { 2 });
        }
    }

    /// What both sides do about these events.
    fn on(&mut self, stream: &Stream, event: &StreamEvent) {
        match event {
            StreamEvent::SendComplete { client_context, .. } => {
                self.under_way -= *client_context as u64;
                self.go_on(stream);
            }
            StreamEvent::IdealSendBufferSize { byte_count } => {
                self.ideal = *byte_count;
                self.go_on(stream);
            }
            _ => (),
        }
    }
}

/// Closes a stream whose last event this was. Its closure goes with it: nothing of that may be used after.
fn forget(stream: &StreamRef) {
    // SAFETY: after ShutdownComplete nobody else has the handle.
    drop(unsafe { Stream::from_raw(stream.as_raw()) });
}

// ---- server ---------------------------------------------------------------------------------------------------------

fn answer() -> impl FnMut(StreamRef, StreamEvent) -> Result<(), msquic::Status> + 'static {
    let (mut head, mut out) = (Vec::with_capacity(8), Outgoing::new(&[], 0));
    move |stream, event| {
        match &event {
            StreamEvent::Receive { buffers, .. } if head.len() < 8 => {
                let bytes = buffers.iter().flat_map(|buffer| buffer.as_bytes());
                head.extend(bytes.take(8 - head.len()).copied());
            }
            StreamEvent::PeerSendShutdown => {
                out = Outgoing::new(&[], u64::from_be_bytes(head[..8].try_into().unwrap()));
                out.begin(&stream);
            }
            StreamEvent::ShutdownComplete { .. } => forget(&stream),
            event => out.on(&stream, event),
        }
        Ok(())
    }
}

fn serve(port: u16, cert: String, key: String) {
    let registration = registration();
    let credential = Credential::CertificateFile(CertificateFile::new(key, cert));
    let configuration = configuration(&registration, CredentialConfig::new().set_credential(credential));
    let listener = Listener::open(&registration, move |_, event| {
        if let ListenerEvent::NewConnection { connection, .. } = event {
            connection.set_callback_handler(|connection: ConnectionRef, event: ConnectionEvent| {
                match event {
                    ConnectionEvent::PeerStreamStarted { stream, .. } => stream.set_callback_handler(answer()),
                    // SAFETY: after this event nobody else has the handle.
                    ConnectionEvent::ShutdownComplete { .. } => drop(unsafe { Connection::from_raw(connection.as_raw()) }),
                    _ => (),
                }
                Ok(())
            });
            connection.set_configuration(&configuration)?;
        }
        Ok(())
    })
    .unwrap();
    listener.start(&[BufferRef::from("perf")], Some(&address(port))).unwrap();
    println!("ready");
    loop {
        std::thread::park();
    }
}

// ---- client ---------------------------------------------------------------------------------------------------------

fn address(port: u16) -> Addr {
    Addr::from(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn start(connection: &Connection, configuration: &Configuration, port: u16) {
    // SAFETY: the address lives until the call returns, and its size is told.
    unsafe {
        let at = &address(port) as *const _ as *const c_void;
        Api::set_param(connection.as_raw(), ffi::QUIC_PARAM_CONN_REMOTE_ADDRESS, size_of::<Addr>() as u32, at).unwrap();
    }
    connection.start(configuration, "localhost", port).unwrap();
}

fn connect(registration: &Registration, configuration: &Configuration, port: u16) -> Connection {
    let (tell, told) = channel();
    let connection = Connection::open(registration, move |_, event| {
        match event {
            ConnectionEvent::Connected { .. } => tell.send(()).unwrap(),
            ConnectionEvent::ShutdownInitiatedByTransport { status, .. } => panic!("{status}"),
            _ => (),
        }
        Ok(())
    })
    .unwrap();
    start(&connection, configuration, port);
    told.recv().unwrap();
    connection
}

/// A second name for the handle, which does not close it.
fn alias(connection: &Connection) -> ManuallyDrop<Connection> {
    // SAFETY: nobody drops it.
    ManuallyDrop::new(unsafe { Connection::from_raw(connection.as_raw()) })
}

/// Requests that run on a connection. Who waits is told of each that is over, and whether its answer was complete.
struct Run {
    connection: ManuallyDrop<Connection>,
    down: u64,
    up: u64,
    begun: AtomicU64,
    count: u64,
    over: Box<dyn Fn(bool)>,
}

fn ask(run: &Arc<Run>) {
    if run.begun.fetch_add(1, Relaxed) >= run.count {
        return;
    }
    let mut head = run.down.to_be_bytes().to_vec();
    head.resize(run.up.clamp(8, MESSAGE) as usize, 0);
    let zeros = run.up.saturating_sub(head.len() as u64);
    let out = Arc::new(Mutex::new(Outgoing::new(&head, zeros)));
    let (mut got, mine, sending) = (0, run.clone(), out.clone());
    let stream = Stream::open(&run.connection, StreamOpenFlags::NONE, move |stream: StreamRef, event: StreamEvent| {
        match &event {
            StreamEvent::Receive { buffers, .. } => {
                got += buffers.iter().map(|buffer| buffer.as_bytes().len() as u64).sum::<u64>();
            }
            StreamEvent::ShutdownComplete { .. } => {
                (mine.over)(got == mine.down);
                ask(&mine);
                forget(&stream);
            }
            event => sending.lock().unwrap().on(&stream, event),
        }
        Ok(())
    })
    .unwrap();
    stream.start(StreamStartFlags::NONE).unwrap();
    out.lock().unwrap().begin(&stream);
    // SAFETY: its callback closes it.
    unsafe { stream.into_raw() };
}

fn run(connection: &Connection, count: u64, in_flight: u64, down: u64, up: u64) {
    let (tell, told) = channel();
    let done = AtomicU64::new(0);
    let over = Box::new(move |good: bool| {
        assert!(good, "an answer was not complete");
        if done.fetch_add(1, Relaxed) + 1 == count {
            tell.send(()).unwrap();
        }
    });
    let run = Arc::new(Run { connection: alias(connection), down, up, begun: AtomicU64::new(0), count, over });
    for _ in 0..in_flight {
        ask(&run);
    }
    told.recv().unwrap();
}

/// A connection that asks once. How that went is told as soon as it has its answer, or has failed.
fn handshake(registration: &Registration, configuration: &Configuration, port: u16, tell: Sender<Result<(), String>>) {
    let answered = Arc::new(AtomicBool::new(false));
    let connection = Connection::open(registration, move |connection: ConnectionRef, event: ConnectionEvent| {
        match event {
            ConnectionEvent::Connected { .. } => {
                let (tell, answered, mine) = (tell.clone(), answered.clone(), alias(&connection));
                let over = Box::new(move |good: bool| {
                    mine.shutdown(ConnectionShutdownFlags::NONE, 0);
                    if good && !answered.swap(true, Relaxed) {
                        tell.send(Ok(())).unwrap();
                    }
                });
                let (connection, begun) = (alias(&connection), AtomicU64::new(0));
                ask(&Arc::new(Run { connection, down: MESSAGE, up: MESSAGE, begun, count: 1, over }));
            }
            ConnectionEvent::ShutdownComplete { .. } => {
                if !answered.load(Relaxed) {
                    tell.send(Err("closed without an answer".into())).unwrap();
                }
                // SAFETY: after this event nobody else has the handle, and nothing of the closure is used.
                drop(unsafe { Connection::from_raw(connection.as_raw()) });
            }
            _ => (),
        }
        Ok(())
    })
    .unwrap();
    start(&connection, configuration, port);
    // SAFETY: its callback closes it.
    unsafe { connection.into_raw() };
}

/// `at_once` of them, begun by this thread: MsQuic's must not wait for itself, which setting the address would.
fn handshakes(registration: &Registration, configuration: &Configuration, port: u16, count: u64, at_once: u64) {
    let ((tell, told), turns) = (channel(), Turns::new(count));
    let next = || turns.take().then(|| handshake(registration, configuration, port, tell.clone()));
    let measured = Measured::begin();
    for _ in 0..at_once {
        next();
    }
    while !turns.all_over() {
        turns.over(told.recv().unwrap());
        next();
    }
    drop(measured);
    turns.tell();
    registration.shutdown(); // the last that close: dropping it waits for them
}

fn load(port: u16, ca: String, load: Load) {
    let registration = registration();
    let credential = CredentialConfig::new_client().set_ca_certificate_file(ca);
    let configuration = configuration(&registration, credential);
    if let Load::Handshakes { count, at_once } = load {
        return handshakes(&registration, &configuration, port, count, at_once);
    }
    let connection = connect(&registration, &configuration, port);
    let _measured = Measured::begin();
    match load {
        Load::Bulk { down, up } => run(&connection, 1, 1, down, up),
        Load::Requests { count, in_flight } => run(&connection, count, in_flight, MESSAGE, MESSAGE),
        Load::Handshakes { .. } => unreachable!(),
    }
}

fn main() {
    let args = args();
    match args.role {
        Role::Server { cert, key } => serve(args.port, cert, key),
        Role::Client { ca, load: what } => load(args.port, ca, what),
    }
}
