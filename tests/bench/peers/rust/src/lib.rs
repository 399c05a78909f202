//! What the Rust peers share: the command line, and the two lines that tell the bench when to look at the clock.
//!
//!     PEER server PORT CERT KEY
//!     PEER client PORT CA bulk DOWN UP | handshakes COUNT AT-ONCE | requests COUNT IN-FLIGHT
//!
//! The protocol is that of draft-banks-quic-performance: the first eight bytes of a stream say how many bytes the answer
//! has, big-endian.
use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

pub enum Load {
    Bulk { down: u64, up: u64 },
    Handshakes { count: u64, at_once: u64 },
    Requests { count: u64, in_flight: u64 },
}

pub enum Role {
    Server { cert: String, key: String },
    Client { ca: String, load: Load },
}

pub struct Args {
    pub port: u16,
    pub role: Role,
}

fn number(args: &[String], at: usize) -> u64 {
    args.get(at).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("argument {at} must be a number"))
}

pub fn args() -> Args {
    let args: Vec<String> = std::env::args().collect();
    let role = match args[1].as_str() {
        "server" => Role::Server { cert: args[3].clone(), key: args[4].clone() },
        _ => {
            let load = match args[4].as_str() {
                "bulk" => Load::Bulk { down: number(&args, 5), up: number(&args, 6) },
                "handshakes" => Load::Handshakes { count: number(&args, 5), at_once: number(&args, 6) },
                _ => Load::Requests { count: number(&args, 5), in_flight: number(&args, 6) },
            };
            Role::Client { ca: args[3].clone(), load }
        }
    };
    Args { port: number(&args, 2) as u16, role }
}

/// Prints `begin`, and `end SECONDS` when dropped.
pub struct Measured(Instant);

impl Measured {
    pub fn begin() -> Self {
        println!("begin");
        Measured(Instant::now())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        println!("end {}", self.0.elapsed().as_secs_f64());
    }
}

/// The handshakes that are still to be made, and how those went that were: whoever has time takes the next.
pub struct Turns {
    count: u64,
    left: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
}

impl Turns {
    pub fn new(count: u64) -> Self {
        Turns { count, left: AtomicU64::new(count), completed: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    pub fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// One is over. Completed is only what had its answer: a server reads a request when the handshake is complete.
    pub fn over(&self, how: Result<(), impl Display>) {
        match how {
            Ok(()) => self.completed.fetch_add(1, Relaxed),
            Err(why) => {
                eprintln!("handshake: {why}");
                self.failed.fetch_add(1, Relaxed)
            }
        };
    }

    pub fn all_over(&self) -> bool {
        self.completed.load(Relaxed) + self.failed.load(Relaxed) == self.count
    }

    /// Prints `handshakes COMPLETED FAILED`.
    pub fn tell(&self) {
        println!("handshakes {} {}", self.completed.load(Relaxed), self.failed.load(Relaxed));
    }
}

pub const CHUNK: usize = 65536;
pub const MESSAGE: u64 = 100;
