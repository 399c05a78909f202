//! What the Rust peers share: the command line, and the two lines that tell the bench when to look at the clock.
//!
//!     PEER server PORT CERT KEY
//!     PEER client PORT CA bulk DOWN UP | handshakes COUNT | requests COUNT IN-FLIGHT
//!
//! The protocol is that of draft-banks-quic-performance: the first eight bytes of a stream say how many bytes the answer
//! has, big-endian.
use std::time::Instant;

pub enum Load {
    Bulk { down: u64, up: u64 },
    Handshakes(u64),
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
                "handshakes" => Load::Handshakes(number(&args, 5)),
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

pub const CHUNK: usize = 65536;
pub const MESSAGE: u64 = 100;
