//! An endpoint that gives tokens (OAUTHBEARER with `sasl.oauthbearer.method: oidc`) to who knows a secret.
//!
//! Invariant: the token is of the user that the secured broker lets in, unsigned, and good until the year 2100.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Whom it gives a token to: `cdc`, with the password of the secured broker's user.
pub const CLIENT: &str = "cdc";

/// Client and secret as they are sent.
const BASIC: &str = "Basic Y2RjOmh1bnRlcjItc2VjcmV0";

/// `{"alg":"none"}`, and `{"sub":"alice","iat":1700000000,"exp":4102444800}`, and no signature.
const TOKEN: &str =
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.";

/// Listens until the process ends; where to ask.
///
/// # Panics
///
/// Where no port is free.
#[must_use]
pub fn endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who hangs up asks again.
            let _ = answer(stream);
        }
    });
    format!("http://{address}/token")
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut known = false;
    let mut length = 0;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => known = value == BASIC,
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    // What is asked for is the same every time; unread it would reset the connection.
    std::io::Read::read_exact(&mut reader, &mut vec![0; length])?;
    let (status, body) = match known {
        true => (
            "200 OK",
            format!(
                "{{\"access_token\":\"{TOKEN}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}"
            ),
        ),
        false => (
            "401 Unauthorized",
            "{\"error\":\"invalid_client\",\"error_description\":\"unknown\"}".to_owned(),
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
