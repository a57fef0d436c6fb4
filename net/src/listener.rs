//! Where clients come in: TCP listeners of each worker (`SO_REUSEPORT`), and the Unix socket that all workers share.

use crate::error::StartError;
use crate::limits::{KEEPALIVE_SECONDS, PORT_WAIT_MS};
use crate::ring::{Op, Ring};
use cairn_core::event::Peer;
use io_uring::{opcode, types};
use rustix::net::SocketAddrAny;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A TCP listener at `addr` with this queue, whose connections inherit no-delay and keepalive (`keepalive_s` 0: none).
pub fn tcp(addr: SocketAddr, backlog: i32, keepalive_s: u64) -> Result<OwnedFd, StartError> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => StartError::AddressInUse { addr },
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => StartError::AddressNotHere { addr },
        Some(libc::EACCES) => StartError::AddressForbidden { addr },
        _ => StartError::Listen { addr: addr.to_string(), error },
    };
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).map_err(failed)?;
    let set = || {
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        if keepalive_s > 0 {
            let third = Duration::from_secs((keepalive_s / 3).max(1));
            let time = Duration::from_secs(keepalive_s);
            let keepalive = socket2::TcpKeepalive::new().with_time(time).with_interval(third).with_retries(3);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(backlog)
    };
    set().map_err(failed)?;
    Ok(socket.into())
}

/// The TCP listeners of all workers at one address: the first bind must find the address unused by anybody, the others
/// share it. With port 0 they share the port that the kernel chose.
pub fn tcp_shared(addr: SocketAddr, workers: usize, backlog: i32) -> Result<(SocketAddr, Vec<OwnedFd>), StartError> {
    refuse_shared_port(addr)?;
    let first = tcp(addr, backlog, KEEPALIVE_SECONDS)?;
    let bound = local_addr(first.as_fd()).map_err(|error| StartError::Listen { addr: addr.to_string(), error })?;
    let mut listeners = vec![first];
    while listeners.len() < workers {
        listeners.push(tcp(bound, backlog, KEEPALIVE_SECONDS)?);
    }
    Ok((bound, listeners))
}

/// `SO_REUSEPORT` would let two servers of one user share a port in silence: ask without it first.
fn refuse_shared_port(addr: SocketAddr) -> Result<(), StartError> {
    if addr.port() == 0 {
        return Ok(());
    }
    let ask = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())
    };
    let begun = Instant::now();
    loop {
        match ask() {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
                if begun.elapsed() >= Duration::from_millis(PORT_WAIT_MS) {
                    return Err(StartError::AddressInUse { addr });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            // Whatever else is wrong, the listener itself meets and names it.
            _ => return Ok(()),
        }
    }
}

fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(fd)?).map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// A Unix socket at `path` with these permissions. A socket file that a dead server left is replaced; one that somebody
/// answers is in use.
pub fn unix(path: &Path, mode: Option<u32>, backlog: i32) -> Result<OwnedFd, StartError> {
    let failed = |error: io::Error| StartError::Listen { addr: path.display().to_string(), error };
    let address = socket2::SockAddr::unix(path).map_err(failed)?;
    let is_socket = |meta: std::fs::Metadata| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type());
    if std::fs::symlink_metadata(path).is_ok_and(is_socket) {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        if client.connect(&address).is_ok() {
            return Err(failed(io::Error::from_raw_os_error(libc::EADDRINUSE)));
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.bind(&address).map_err(failed)?;
    if let Some(mode) = mode {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, permissions).map_err(failed)?;
    }
    socket.listen(backlog).map_err(failed)?;
    Ok(socket.into())
}

/// What became of an accept.
pub enum Accepted {
    Connection {
        fd: OwnedFd,
        peer: Peer,
    },
    /// Gone before it was accepted.
    Nobody,
    /// No descriptors or no memory: accepting pauses. The errno.
    Exhausted(i32),
}

/// One worker's listeners, with a multishot accept each.
pub struct Listeners {
    all: Vec<Listener>,
    is_stopped: bool,
}

struct Listener {
    fd: OwnedFd,
    /// The path, of a Unix socket.
    unix: Option<PathBuf>,
    is_armed: bool,
    /// Not armed before this, in monotonic nanoseconds.
    resume_ns: u64,
}

impl Listeners {
    pub fn new() -> Listeners {
        Listeners { all: Vec::new(), is_stopped: false }
    }

    pub fn add(&mut self, fd: OwnedFd, unix: Option<PathBuf>) {
        self.all.push(Listener { fd, unix, is_armed: false, resume_ns: 0 });
    }

    /// Arms what is to accept and does not. Called at start and at every tick.
    pub fn arm(&mut self, ring: &mut Ring, now_ns: u64) -> io::Result<()> {
        if self.is_stopped {
            return Ok(());
        }
        for (index, listener) in self.all.iter_mut().enumerate() {
            if listener.is_armed || now_ns < listener.resume_ns {
                continue;
            }
            let op = Op::Accept { listener: index as u32 };
            let entry = opcode::AcceptMulti::new(types::Fd(listener.fd.as_raw_fd()))
                .flags(libc::SOCK_CLOEXEC)
                .build()
                .user_data(op.encode());
            // SAFETY: a multishot accept is given no address to write to; it points to nothing.
            unsafe { ring.push(&entry)? };
            listener.is_armed = true;
        }
        Ok(())
    }

    /// Cancels all accepts; none is armed again.
    pub fn stop(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.is_stopped = true;
        for (index, listener) in self.all.iter().enumerate() {
            if listener.is_armed {
                cancel(ring, Op::Accept { listener: index as u32 })?;
            }
        }
        Ok(())
    }

    /// Whether no accept is with the kernel.
    pub fn is_idle(&self) -> bool {
        self.all.iter().all(|listener| !listener.is_armed)
    }

    /// A completion of a listener's accept. `pause_ns`: when to try again if descriptors are short.
    pub fn on_accept(&mut self, index: u32, result: i32, has_more: bool, pause_ns: u64) -> Accepted {
        let listener = &mut self.all[index as usize];
        listener.is_armed &= has_more;
        match result {
            0.. => {
                // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows of it.
                let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(result) };
                match peer(&fd, listener.unix.as_deref()) {
                    Ok(peer) => Accepted::Connection { fd, peer },
                    Err(_) => Accepted::Nobody,
                }
            }
            _ => match -result {
                errno @ (libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    listener.resume_ns = pause_ns;
                    Accepted::Exhausted(errno)
                }
                // ECONNABORTED, EPROTO, EINTR, ECANCELED and network errors of the one connection.
                _ => Accepted::Nobody,
            },
        }
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Listeners::new()
    }
}

/// Cancels an operation. Its own completion says how it ended.
pub fn cancel(ring: &mut Ring, op: Op) -> io::Result<()> {
    let builder = types::CancelBuilder::user_data(op.encode());
    let entry = opcode::AsyncCancel2::new(builder).build().user_data(Op::Cancel.encode());
    // SAFETY: a cancellation names its target by number and points to nothing.
    unsafe { ring.push(&entry) }
}

/// Who is at the other end, in Redis's forms. A peer that is gone already is an error.
fn peer(fd: &OwnedFd, unix: Option<&Path>) -> io::Result<Peer> {
    if let Some(path) = unix {
        let addr = format!("{}:0", path.display());
        return Ok(Peer { laddr: addr.clone(), addr, is_local: true, fd: fd.as_raw_fd() });
    }
    let text = |any: SocketAddrAny| -> io::Result<SocketAddr> {
        SocketAddr::try_from(any).map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    };
    let far = text(rustix::net::getpeername(fd)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))?)?;
    let near = text(rustix::net::getsockname(fd)?)?;
    let is_local = match far.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    Ok(Peer { addr: redis_addr(far), laddr: redis_addr(near), is_local, fd: fd.as_raw_fd() })
}

/// `ip:port`, IPv6 in brackets as Redis has it.
fn redis_addr(addr: SocketAddr) -> String {
    match addr.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", addr.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", addr.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::tcp_shared;
    use crate::error::StartError;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn a_port_that_is_about_to_be_free_is_waited_for() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = other.local_addr().unwrap();
        assert!(matches!(tcp_shared(addr, 1, 16), Err(StartError::AddressInUse { .. })));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(40));
                drop(other);
            });
            let (bound, listeners) = tcp_shared(addr, 2, 16).unwrap();
            assert_eq!((bound, listeners.len()), (addr, 2));
        });
    }
}
