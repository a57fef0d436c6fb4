//! Tells systemd how the start goes: `sd_notify` by hand, one datagram a message.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// `READY=1`, `STATUS=...`, `STOPPING=1`; to nobody when the process was not started by a service manager.
pub fn tell(message: &str) {
    if let Ok(path) = std::env::var("NOTIFY_SOCKET") {
        // Who asked to be told and is gone cannot be helped.
        let _ = send(&path, message);
    }
}

fn send(path: &str, message: &str) -> std::io::Result<usize> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_both_kinds_of_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").display().to_string();
        let name = format!("@cairn-notify-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path),
            (UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap(), name),
        ];
        for (socket, path) in sockets {
            send(&path, "READY=1").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
    }
}
