//! The table against real loopback sockets.

use super::{Received, Sent, Sockets};
use crate::buffer::ReceiveBuffers;
use crate::listener::{Accepted, Listeners, tcp};
use crate::ring::{Op, Ring};
use cairn_core::event::ConnId;
use cairn_core::resp::replies::Outgoing;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A worker without a machine: what arrives is kept, what is asked is done.
struct Bench {
    ring: Ring,
    buffers: ReceiveBuffers,
    sockets: Sockets,
    listeners: Listeners,
    addr: SocketAddr,
    got: BTreeMap<u32, Vec<u8>>,
    hung_up: Vec<(ConnId, bool)>,
    sent: Vec<ConnId>,
    accepted: Vec<ConnId>,
    starved: usize,
}

impl Bench {
    fn new(buffers: u16, buffer_bytes: usize) -> Bench {
        let mut ring = Ring::new().unwrap();
        let fd = tcp("127.0.0.1:0".parse().unwrap(), 16, 60).unwrap();
        let addr = SocketAddr::try_from(rustix::net::getsockname(&fd).unwrap()).unwrap();
        let buffers = ReceiveBuffers::new(&ring, buffers, buffer_bytes).unwrap();
        let mut listeners = Listeners::new();
        listeners.add(fd, None);
        listeners.arm(&mut ring, 0).unwrap();
        Bench {
            ring,
            buffers,
            sockets: Sockets::default(),
            listeners,
            addr,
            got: BTreeMap::new(),
            hung_up: Vec::new(),
            sent: Vec::new(),
            accepted: Vec::new(),
            starved: 0,
        }
    }

    fn connect(&mut self) -> (TcpStream, ConnId) {
        let before = self.accepted.len();
        let stream = TcpStream::connect(self.addr).unwrap();
        self.until(|bench| bench.accepted.len() > before);
        (stream, self.accepted[before])
    }

    fn until(&mut self, mut is_done: impl FnMut(&Bench) -> bool) {
        while !is_done(self) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.ring.enter_and_wait().unwrap();
        while let Some(done) = self.ring.next_completion() {
            match done.op {
                Op::Accept { listener } => match self.listeners.on_accept(listener, done.result, done.has_more(), 0) {
                    Accepted::Connection { fd, .. } => {
                        self.accepted.push(self.sockets.open(&mut self.ring, fd, 3).unwrap());
                    }
                    Accepted::Nobody => {}
                    Accepted::Exhausted(errno) => panic!("errno {errno}"),
                },
                Op::Receive { conn, generation } => {
                    match self.sockets.on_receive(&mut self.ring, conn, generation, done).unwrap() {
                        Received::Bytes { machine, conn, len } => {
                            assert_eq!(machine, 3);
                            let bytes = self.buffers.bytes(done.buffer().unwrap(), len);
                            self.got.entry(conn.0).or_default().extend_from_slice(bytes);
                        }
                        Received::HungUp { conn, is_broken, .. } => self.hung_up.push((conn, is_broken)),
                        Received::Starved => self.starved += 1,
                        Received::Nothing => {}
                    }
                    if let Some(buffer) = done.buffer() {
                        self.buffers.give(buffer);
                    }
                }
                Op::Send { conn, generation } => {
                    match self.sockets.on_send(&mut self.ring, conn, generation, done.result).unwrap() {
                        Sent::All { conn, buffer, .. } => {
                            assert!(
                                matches!(&buffer, Outgoing::Bytes(bytes) if bytes.is_empty() && bytes.capacity() > 0)
                            );
                            self.sent.push(conn);
                        }
                        Sent::HungUp { conn, .. } => self.hung_up.push((conn, true)),
                        Sent::Part { .. } | Sent::Nothing => {}
                    }
                }
                _ => {}
            }
        }
        self.ring.release_completions();
        self.buffers.publish();
        self.sockets.feed(&mut self.ring).unwrap();
    }
}

#[test]
fn bytes_go_in_and_come_out_whole() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    stream.write_all(b"hello").unwrap();
    bench.until(|bench| bench.got.get(&conn.0).is_some_and(|bytes| bytes == b"hello"));
    assert!(bench.sockets.send(&mut bench.ring, conn, b"world".to_vec().into()).unwrap().is_none());
    bench.until(|bench| bench.sent == [conn]);
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"world");
    assert!(bench.sockets.send(&mut bench.ring, conn, Vec::new().into()).unwrap().is_some());
}

#[test]
fn more_than_all_buffers_hold_arrives_in_order() {
    let mut bench = Bench::new(2, 64);
    let (mut stream, conn) = bench.connect();
    let data: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let expect = data.clone();
    let writing = std::thread::spawn(move || stream.write_all(&data).map(|()| stream).unwrap());
    bench.until(|bench| bench.got.get(&conn.0).is_some_and(|bytes| bytes.len() == expect.len()));
    assert_eq!(bench.got[&conn.0], expect);
    assert!(bench.starved > 0);
    drop(writing.join().unwrap());
    bench.until(|bench| bench.hung_up == [(conn, false)]);
}

#[test]
fn a_send_that_a_slow_reader_stops_goes_on_when_it_reads() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    let data: Vec<u8> = (0..20_000_000_u32).map(|at| (at % 249) as u8).collect();
    assert!(bench.sockets.send(&mut bench.ring, conn, data.clone().into()).unwrap().is_none());
    bench.ring.enter().unwrap();
    let reading = std::thread::spawn(move || {
        let mut back = vec![0; 20_000_000];
        stream.read_exact(&mut back).map(|()| back).unwrap()
    });
    bench.until(|bench| bench.sent == [conn]);
    assert!(reading.join().unwrap() == data);
}

#[test]
fn a_paused_connection_is_read_again_when_it_resumes() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    let (mut other, marker) = bench.connect();
    bench.sockets.pause(&mut bench.ring, conn).unwrap();
    bench.until(|bench| !bench.sockets.all[conn.0 as usize].is_receiving);
    stream.write_all(b"later").unwrap();
    other.write_all(b"now").unwrap();
    bench.until(|bench| bench.got.contains_key(&marker.0));
    assert!(!bench.got.contains_key(&conn.0));
    bench.sockets.resume(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.got.get(&conn.0).is_some_and(|bytes| bytes == b"later"));
    // Resumed before the cancellation has come back.
    bench.sockets.pause(&mut bench.ring, conn).unwrap();
    bench.sockets.resume(&mut bench.ring, conn).unwrap();
    stream.write_all(b"!").unwrap();
    bench.until(|bench| bench.got[&conn.0] == b"later!");
}

#[test]
fn an_id_is_free_only_when_nothing_is_in_flight() {
    let mut bench = Bench::new(8, 1024);
    let (stream, conn) = bench.connect();
    assert!(bench.sockets.send(&mut bench.ring, conn, vec![7; 20_000_000].into()).unwrap().is_none());
    bench.ring.enter().unwrap();
    bench.sockets.close(&mut bench.ring, conn).unwrap();
    assert_eq!(bench.sockets.count(), 1);
    bench.until(|bench| bench.sockets.count() == 0);
    assert_eq!(bench.sockets.take_freed(), 1);
    assert!(bench.sent.is_empty() && bench.hung_up.is_empty());
    drop(stream);
    let (_stream, again) = bench.connect();
    assert_eq!(again, conn);
}

#[test]
fn a_reset_is_heard_of_once() {
    let mut bench = Bench::new(8, 1024);
    let (stream, conn) = bench.connect();
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
    bench.until(|bench| !bench.hung_up.is_empty());
    assert_eq!(bench.hung_up, [(conn, true)]);
    assert!(bench.sockets.send(&mut bench.ring, conn, b"too late".to_vec().into()).unwrap().is_some());
    bench.sockets.close(&mut bench.ring, conn).unwrap();
    assert_eq!(bench.sockets.count(), 0);
}

#[test]
fn who_only_stops_sending_still_gets_the_answer() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    stream.write_all(b"question").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bench.until(|bench| bench.hung_up == [(conn, false)]);
    assert!(bench.sockets.send(&mut bench.ring, conn, b"answer".to_vec().into()).unwrap().is_none());
    bench.until(|bench| bench.sent == [conn]);
    bench.sockets.close(&mut bench.ring, conn).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "answer");
}

#[test]
fn a_connection_that_is_lent_is_read_by_who_has_it() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    let generation = bench.sockets.generation(conn);
    bench.sockets.hold_still(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.sockets.is_still(conn, generation) == Some(true));
    stream.write_all(b"there").unwrap();
    let mut there = TcpStream::from(bench.sockets.lend(conn).unwrap());
    let mut back = [0; 5];
    there.read_exact(&mut back).unwrap();
    assert_eq!((&back, bench.got.len()), (b"there", 0));
    bench.sockets.release(conn);
    // It is open still, and counted where it is.
    assert_eq!((bench.sockets.count(), bench.sockets.take_freed()), (0, 0));
    assert_eq!(bench.sockets.is_still(conn, generation), None);
    there.write_all(b"and on").unwrap();
    let mut back = [0; 6];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"and on");
}

#[test]
fn a_connection_that_is_closed_while_it_is_lent_is_cut_off() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    let generation = bench.sockets.generation(conn);
    bench.sockets.hold_still(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.sockets.is_still(conn, generation) == Some(true));
    let mut there = TcpStream::from(bench.sockets.lend(conn).unwrap());
    bench.sockets.close(&mut bench.ring, conn).unwrap();
    assert_eq!((bench.sockets.count(), bench.sockets.take_freed()), (0, 0));
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the peer hears of it");
    assert_eq!(there.read(&mut [0; 1]).unwrap(), 0, "and so does who has it");
}

#[test]
fn a_connection_that_nobody_takes_is_read_on() {
    let mut bench = Bench::new(8, 1024);
    let (mut stream, conn) = bench.connect();
    let generation = bench.sockets.generation(conn);
    bench.sockets.hold_still(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.sockets.is_still(conn, generation) == Some(true));
    drop(bench.sockets.lend(conn).unwrap());
    stream.write_all(b"here").unwrap();
    bench.sockets.stay(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.got.get(&conn.0).is_some_and(|bytes| bytes == b"here"));
    bench.sockets.close(&mut bench.ring, conn).unwrap();
    bench.until(|bench| bench.sockets.count() == 0);
    assert_eq!(bench.sockets.take_freed(), 1);
}
