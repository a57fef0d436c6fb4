//! Scripts that can be read aloud. Each block of a file in `golden/` is commands, `---`, and what they answer.
//! With `CAIRN_BLESS=1` the answers are written to the files instead of compared.

use crate::disk::{Disk, Rng};
use crate::{SEGMENT, config, open, put};
use cairn_storage::log::{LogState, LogWriter, Resume};
use cairn_storage::op::{DiskDone, DiskOp};
use cairn_storage::units::{Lsn, SegmentId};
use std::fmt::Write;

struct Script {
    disk: Disk,
    writer: Option<LogWriter>,
    out: String,
}

fn check(name: &str) {
    let path = format!("{}/tests/log/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut script = Script { disk: Disk::default(), writer: None, out: String::new() };
    let mut actual = Vec::new();
    for block in text.trim_end().split("\n\n") {
        let (commands, _) = block.split_once("\n---").unwrap_or((block, ""));
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            script.run(command);
        }
        actual.push(format!("{commands}\n---\n{}", core::mem::take(&mut script.out)));
    }
    let actual = actual.join("\n");
    if std::env::var_os("CAIRN_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
        return;
    }
    assert_eq!(actual.trim_end(), text.trim_end(), "{path}");
}

impl Script {
    fn run(&mut self, command: &str) {
        let mut words = command.split_whitespace();
        let name = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match name {
            "create" => self.writer = Some(LogWriter::new(config(), &Resume::empty())),
            "flights" => self.writer().set_flights_max(number(0) as usize),
            "append" => words.iter().for_each(|word| self.append(word)),
            "seal" => {
                self.writer().seal();
                self.poll();
            }
            "idle" => {
                let sealed = self.writer().seal_idle();
                writeln!(self.out, "{}", if sealed { "sealed" } else { "nothing to do" }).unwrap();
                self.poll();
            }
            "done" => words.iter().for_each(|word| self.done(word.parse().unwrap())),
            "fail" => {
                let at = self.at(number(0));
                let done = self.disk.fail(at, number(1) as i32, &mut Rng(1));
                self.answer(done);
            }
            "short" => {
                let at = self.at(number(0));
                let done = self.disk.cut_short(at);
                self.answer(done);
            }
            "retry" => {
                self.writer().retry_prepare();
                self.poll();
            }
            "state" => self.state(),
            "crash" => {
                let keep = words.first().and_then(|word| word.strip_prefix("keep="));
                let keep: Vec<u64> = keep.iter().flat_map(|list| list.split(',')).map(|n| n.parse().unwrap()).collect();
                self.disk.crash_keeping(&keep);
                self.writer = None;
            }
            "flip" => self.disk.flip(SegmentId(number(0)), number(1), 1),
            "remove" => drop(self.disk.files.remove(&number(0))),
            "cut" => self.disk.files.get_mut(&number(0)).unwrap().bytes.truncate(number(1) as usize),
            "unreadable" => self.disk.unreadable = Some(number(0)),
            "open" => self.open(Lsn(words.first().map_or(0, |word| word.parse().unwrap()))),
            other => panic!("no such command: {other}"),
        }
    }

    fn writer(&mut self) -> &mut LogWriter {
        self.writer.as_mut().expect("the log is open")
    }

    /// `key=value`, or `key=#700000` for a value of that many bytes.
    fn append(&mut self, word: &str) {
        let (key, value) = word.split_once('=').unwrap();
        let value = match value.strip_prefix('#') {
            Some(len) => vec![b'#'; len.parse().unwrap()],
            None => value.as_bytes().to_vec(),
        };
        let lsn = self.writer().append(&put(key.as_bytes(), &value));
        writeln!(self.out, "{key} lsn={lsn}").unwrap();
    }

    fn poll(&mut self) {
        for op in self.disk.take(self.writer.as_mut().unwrap()) {
            match op {
                DiskOp::Write { op, segment, offset, len, .. } => {
                    writeln!(self.out, "write {op}: segment={segment} offset={offset} len={len}").unwrap();
                }
                DiskOp::Prepare { op, segment, bytes } => {
                    assert_eq!(bytes, SEGMENT);
                    writeln!(self.out, "prepare {op}: segment={segment}").unwrap();
                }
            }
        }
    }

    fn at(&self, op: u64) -> usize {
        self.disk.flying.iter().position(|flying| flying.id().0 == op).expect("it is in flight")
    }

    fn done(&mut self, op: u64) {
        let at = self.at(op);
        let done = self.disk.complete(&config(), self.writer.as_ref().unwrap(), at);
        self.answer(done);
    }

    fn answer(&mut self, done: DiskDone) {
        let writer = self.writer.as_mut().unwrap();
        let before = writer.durable();
        if let Some(flush) = writer.on_done(done) {
            writeln!(self.out, "flushed {}: records={} bytes={}", flush.op, flush.records, flush.bytes).unwrap();
        }
        if writer.durable() > before {
            writeln!(self.out, "durable={}", writer.durable()).unwrap();
        }
        self.poll();
    }

    fn state(&mut self) {
        let writer = self.writer.as_ref().unwrap();
        let state = match writer.state() {
            LogState::Open => "open".to_string(),
            LogState::Full { errno } => format!("full errno={errno}"),
            LogState::Failed(fault) => {
                format!("failed segment={} offset={} {:?} of {}", fault.segment, fault.offset, fault.result, fault.len)
            }
        };
        let (durable, appended, writes) = (writer.durable(), writer.appended(), writer.accepts_writes());
        writeln!(self.out, "{state} accepts={writes} durable={durable} appended={appended}").unwrap();
    }

    fn open(&mut self, start: Lsn) {
        let opened = open(config(), &mut self.disk, start, usize::MAX);
        for record in opened.records {
            let key = String::from_utf8(record.key).unwrap();
            let value = match record.value.len() {
                0..=20 => String::from_utf8(record.value).unwrap(),
                len => format!("#{len}"),
            };
            writeln!(self.out, "{key}={value} lsn={}", record.lsn).unwrap();
        }
        match opened.outcome.unwrap() {
            Ok(resume) => {
                let ids = |ids: &[SegmentId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
                let (prepared, useless) = (ids(&resume.prepared), ids(&resume.useless));
                writeln!(
                    self.out,
                    "end={} incarnation={} prepared={prepared:?} useless={useless:?} unproved={}",
                    resume.end, resume.incarnation, resume.unproved
                )
                .unwrap();
                self.writer = Some(LogWriter::new(config(), &resume));
            }
            Err(fault) => writeln!(self.out, "refused: {fault}").unwrap(),
        }
    }
}

#[test]
fn group_commit() {
    check("group_commit");
}

#[test]
fn crashes() {
    check("crashes");
}

#[test]
fn damage() {
    check("damage");
}

#[test]
fn disk_full() {
    check("disk_full");
}

#[test]
fn failed_write() {
    check("failed_write");
}

#[test]
fn segments() {
    check("segments");
}
