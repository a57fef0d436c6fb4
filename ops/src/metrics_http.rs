//! The admin port: `/metrics` for Prometheus, `/livez` and `/readyz` for probes. Plain HTTP/1.1 over `std::net`.
//!
//! A thread accepts, one short-lived thread per request answers, [`SCRAPES_MAX`] at most. None of them is pinned to a
//! data core. What is served is a copy that the host thread refreshes; a scrape never asks a shard.

use crate::limits::{HTTP_REQUEST_BYTES_MAX, HTTP_SECONDS_MAX, SCRAPES_MAX};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the endpoint tells.
pub struct Admin {
    /// Clients are served.
    pub is_ready: AtomicBool,
    /// Why no traffic should come although clients are served. Then, and before they are, `/readyz` answers 503.
    pub trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Renders the metrics.
    pub render: Box<dyn Fn() -> String + Send + Sync>,
}

/// Binds `address` and serves for as long as the process lives. Returns the address with the port that was taken.
pub fn start(address: &str, admin: Arc<Admin>) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    let serve = move || {
        let busy = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => dispatch(stream, &admin, &busy),
                // Out of descriptors, or the like: it passes, and must not turn into a busy loop.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    };
    std::thread::Builder::new().name("cairn-metrics".into()).spawn(serve).map_err(|error| error.to_string())?;
    Ok(bound)
}

fn dispatch(stream: TcpStream, admin: &Arc<Admin>, busy: &Arc<AtomicUsize>) {
    if busy.fetch_add(1, Ordering::Relaxed) >= SCRAPES_MAX {
        busy.fetch_sub(1, Ordering::Relaxed);
        let _ = respond(&stream, 503, PLAIN, "too many requests at once\n", true);
        return;
    }
    let (admin, done) = (Arc::clone(admin), Arc::clone(busy));
    let work = move || {
        // Whoever hangs up early has nothing to be told.
        let _ = answer(&stream, &admin);
        done.fetch_sub(1, Ordering::Relaxed);
    };
    if std::thread::Builder::new().name("cairn-scrape".into()).spawn(work).is_err() {
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a request and answers it; the connection serves one.
fn answer(stream: &TcpStream, admin: &Admin) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(HTTP_SECONDS_MAX)))?;
    stream.set_write_timeout(Some(Duration::from_secs(HTTP_SECONDS_MAX)))?;
    let Some(request) = read_request(stream)? else {
        return respond(stream, 431, PLAIN, "the request is too long\n", true);
    };
    let mut words = request.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return respond(stream, 405, PLAIN, "only GET and HEAD\n", true);
    }
    let has_body = method == "GET";
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => respond(stream, 200, EXPOSITION, &(admin.render)(), has_body),
        "/livez" => respond(stream, 200, PLAIN, "ok\n", has_body),
        "/readyz" if !admin.is_ready.load(Ordering::Acquire) => respond(stream, 503, PLAIN, "not ready\n", has_body),
        "/readyz" => match (admin.trouble)() {
            None => respond(stream, 200, PLAIN, "ok\n", has_body),
            Some(trouble) => respond(stream, 503, PLAIN, &format!("{trouble}\n"), has_body),
        },
        "/" => respond(stream, 200, PLAIN, "Cairn: /metrics /livez /readyz\n", has_body),
        _ => respond(stream, 404, PLAIN, "there are /metrics, /livez and /readyz\n", has_body),
    }
}

/// The head of a request, up to its empty line. Nothing if it is too long.
fn read_request(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > HTTP_REQUEST_BYTES_MAX {
            return Ok(None);
        }
        match stream.read(&mut chunk)? {
            0 => break,
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn respond(mut stream: &TcpStream, status: u16, kind: &str, body: &str, has_body: bool) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let mut response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if has_body {
        response.push_str(body);
    }
    stream.write_all(response.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    #[test]
    fn probes_and_scrapes_are_answered() {
        let is_broken = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&is_broken);
        let admin = Arc::new(Admin {
            is_ready: AtomicBool::new(false),
            trouble: Box::new(move || broken.load(Ordering::Acquire).then(|| "shard 3: its log failed".into())),
            render: Box::new(|| "cairn_up 1\n".into()),
        });
        let address = start("127.0.0.1:0", Arc::clone(&admin)).unwrap();
        let status = |target: &str| {
            let response = ask(address, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            response.split(' ').nth(1).unwrap().to_string()
        };
        assert_eq!(status("/readyz"), "503");
        admin.is_ready.store(true, Ordering::Release);
        assert_eq!(
            (status("/readyz"), status("/livez?x=1"), status("/no")),
            ("200".into(), "200".into(), "404".into())
        );
        is_broken.store(true, Ordering::Release);
        let response = ask(address, "GET /readyz HTTP/1.1\r\n\r\n");
        assert!(response.starts_with("HTTP/1.1 503") && response.ends_with("shard 3: its log failed\n"), "{response}");
        let response = ask(address, "GET /metrics HTTP/1.1\r\n\r\n");
        assert!(
            response.contains("Content-Length: 11\r\n") && response.ends_with("\r\n\r\ncairn_up 1\n"),
            "{response}"
        );
        assert!(ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
        assert!(ask(address, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask(address, &format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000))).starts_with("HTTP/1.1 431"));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let admin = Arc::new(Admin {
            is_ready: AtomicBool::new(true),
            trouble: Box::new(|| None),
            render: Box::new(String::new),
        });
        assert!(start(&address, admin).unwrap_err().contains(&address));
    }
}
