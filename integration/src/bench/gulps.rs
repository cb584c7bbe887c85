//! A bare reader of PostgreSQL's logical replication: what a reader costs that does nothing but count.
//!
//! It reads in gulps: between two reads it rests, so that the kernel gathers what the server sends one change at a
//! time. A reader that wakes for each of them doubles the server's cost. The protocol is that of "Streaming Replication
//! Protocol" in PostgreSQL's manual. Its server has to trust it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Between two reads.
const REST: Duration = Duration::from_millis(10);

/// What is taken by one read at most.
const GULP: usize = 8 << 20;

/// What was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Inserts, updates and deletes.
    pub changes: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// System calls that read.
    pub reads: u64,
}

/// Reads a slot, as pgoutput writes it in binary, until everything before `end` has come.
///
/// # Errors
///
/// When the server refuses or ends, in its words.
pub fn read(port: u16, slot: &str, publication: &str, end: u64) -> Result<Counted, String> {
    let mut reader = Reader {
        socket: TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?,
        buffer: vec![0; GULP],
        filled: 0,
        counted: Counted::default(),
    };
    reader.begin(slot, publication)?;
    while !reader.take(end)? {
        std::thread::sleep(REST);
        reader.fill()?;
    }
    Ok(reader.counted)
}

struct Reader {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    counted: Counted,
}

impl Reader {
    fn begin(&mut self, slot: &str, publication: &str) -> Result<(), String> {
        let parameters = b"user\0postgres\0database\0postgres\0replication\0database\0\0";
        let mut startup = Vec::new();
        startup.extend((parameters.len() as u32 + 8).to_be_bytes());
        startup.extend((3_u32 << 16).to_be_bytes());
        startup.extend(parameters);
        self.send(&startup)?;
        self.until(b'Z')?;
        let statement = format!(
            "START_REPLICATION SLOT \"{slot}\" LOGICAL 0/0 \
             (proto_version '1', binary 'true', publication_names '\"{publication}\"')\0"
        );
        self.send(&message(b'Q', statement.as_bytes()))?;
        self.until(b'W')
    }

    /// Reads up to a message of this kind.
    fn until(&mut self, kind: u8) -> Result<(), String> {
        loop {
            let mut taken = 0;
            while let Some((found, body)) = next(&self.buffer[taken..self.filled]) {
                if found == b'E' {
                    return Err(String::from_utf8_lossy(body).replace('\0', " "));
                }
                taken += body.len() + 5;
                if found == kind {
                    self.drop_taken(taken);
                    return Ok(());
                }
            }
            self.drop_taken(taken);
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        match self.socket.read(&mut self.buffer[self.filled..]) {
            Ok(0) => Err("the server has ended the session".to_owned()),
            Ok(read) => {
                self.filled += read;
                self.counted.reads += 1;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Counts what is there whole; true once everything before `end` has come.
    fn take(&mut self, end: u64) -> Result<bool, String> {
        let mut taken = 0;
        let mut reached = 0;
        let mut asked = false;
        while let Some((kind, body)) = next(&self.buffer[taken..self.filled]) {
            taken += body.len() + 5;
            match (kind, body.first()) {
                (b'd', Some(b'w')) => match body.get(25) {
                    Some(b'I' | b'U' | b'D') => self.counted.changes += 1,
                    // Where the transaction ends, after its flags and the place of its commit.
                    Some(b'C') => reached = place(body, 35).unwrap_or(reached),
                    _ => {}
                },
                (b'd', Some(b'k')) => {
                    reached = place(body, 1).unwrap_or(reached);
                    asked = asked || body.get(17) == Some(&1);
                }
                (b'E', _) => return Err(String::from_utf8_lossy(body).replace('\0', " ")),
                _ => {}
            }
        }
        self.counted.bytes += taken as u64;
        self.drop_taken(taken);
        if asked {
            let mut status = vec![b'r'];
            status.resize(34, 0);
            self.send(&message(b'd', &status))?;
        }
        Ok(reached >= end)
    }

    fn drop_taken(&mut self, taken: usize) {
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|e| e.to_string())
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// The first message, if it is there whole.
fn next(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    Some((*kind, rest.get(4..length)?))
}

fn place(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?))
}
