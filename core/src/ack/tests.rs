//! Replies leave in order, each when it may.

use super::*;
use crate::resp::encode::Reply;
use cairn_storage::blob::Blob;

/// Writes a reply as the machine does, behind a gate if `lsn` is not 0.
fn write(output: &mut Output, text: &str, lsn: u64) {
    let mut out = std::mem::take(&mut output.out);
    let mark = out.len();
    out.extend_from_slice(text.as_bytes());
    if lsn > 0 {
        output.gate(mark, &out, Lsn(lsn));
    }
    output.out = out;
}

fn open(output: &mut Output) -> u64 {
    let out = std::mem::take(&mut output.out);
    let id = output.open_hole(&out, false, false, 10);
    output.out = out;
    id
}

fn sent(output: &mut Output, stable: u64) -> String {
    let Some(buffer) = output.take_sendable(Lsn(stable)) else { return String::new() };
    let text = String::from_utf8(buffer.to_vec()).unwrap();
    output.on_sent(buffer);
    text
}

#[test]
fn replies_leave_in_order_when_stable() {
    let mut output = Output::default();
    write(&mut output, "a", 0);
    write(&mut output, "B", 10);
    write(&mut output, "C", 20);
    write(&mut output, "d", 0);
    write(&mut output, "E", 15);
    assert_eq!(sent(&mut output, 9), "a");
    // B and C are neighbours, so they share a gate.
    assert_eq!(sent(&mut output, 19), "");
    assert_eq!(sent(&mut output, 20), "BCdE");
    assert!(output.is_empty());
}

#[test]
fn batches_that_follow_each_other_have_gates_of_their_own() {
    let mut output = Output::default();
    for (text, lsn) in [("A", 10), ("B", 20), ("C", 30)] {
        write(&mut output, text, lsn);
        output.end_batch();
    }
    assert_eq!(sent(&mut output, 9), "");
    assert_eq!(sent(&mut output, 10), "A");
    assert_eq!(sent(&mut output, 29), "B");
    assert_eq!(sent(&mut output, 30), "C");
}

#[test]
fn holes_keep_their_place() {
    let mut output = Output::default();
    write(&mut output, "a", 0);
    let first = open(&mut output);
    let second = open(&mut output);
    write(&mut output, "B", 10);
    let third = open(&mut output);
    assert_eq!(output.asked_bytes, 30);
    assert!(output.fill_hole(second, b"2".to_vec().into()));
    assert_eq!(output.asked_bytes, 20);
    assert!(!output.fill_hole(second, b"2".to_vec().into()), "a hole is filled once");
    assert_eq!(sent(&mut output, 0), "a");
    assert!(output.fill_hole(first, b"1".to_vec().into()));
    assert!(output.fill_hole(third, b"3".to_vec().into()));
    assert_eq!(sent(&mut output, 0), "12");
    write(&mut output, "c", 0);
    assert_eq!(sent(&mut output, 10), "B3c");
    assert!(output.is_empty() && output.unsent_bytes() == 0);
}

#[test]
fn what_leads_to_a_reply_leaves_with_it() {
    let mut output = Output::default();
    let lead = |output: &mut Output, from: u64| {
        let out = std::mem::take(&mut output.out);
        output.note_lead(from, &out);
        output.out = out;
    };
    write(&mut output, "q", 0);
    lead(&mut output, 0);
    write(&mut output, "E", 10);
    assert_eq!(sent(&mut output, 9), "");
    assert_eq!(sent(&mut output, 10), "qE");
    // What stands before it leaves, and what leads then leaves too: a send is made anyway.
    write(&mut output, "a", 0);
    write(&mut output, "q", 0);
    lead(&mut output, 3);
    let first = open(&mut output);
    write(&mut output, "q", 0);
    lead(&mut output, 4);
    let second = open(&mut output);
    assert_eq!(sent(&mut output, 10), "aq");
    write(&mut output, "B", 20);
    assert!(output.fill_hole(second, b"2".to_vec().into()));
    assert_eq!(sent(&mut output, 10), "");
    assert!(output.fill_hole(first, b"1".to_vec().into()));
    assert_eq!(sent(&mut output, 10), "1q2");
    assert_eq!(sent(&mut output, 20), "B");
    // A filled hole is no obstacle, though a closed gate stands in the same place.
    let hole = open(&mut output);
    write(&mut output, "C", 30);
    assert_eq!(sent(&mut output, 20), "");
    assert!(output.fill_hole(hole, b"3".to_vec().into()));
    assert_eq!(sent(&mut output, 20), "3");
    // Only what comes next is led to.
    write(&mut output, "q", 0);
    lead(&mut output, 7);
    write(&mut output, "r", 0);
    write(&mut output, "D", 40);
    assert_eq!(sent(&mut output, 30), "Cqr");
    write(&mut output, "q", 0);
    assert!(output.cut_unstable(Lsn(30)));
    assert!(output.is_empty());
}

#[test]
fn what_never_becomes_stable_is_cut_off() {
    let mut output = Output::default();
    write(&mut output, "a", 10);
    write(&mut output, "b", 0);
    let hole = open(&mut output);
    write(&mut output, "C", 20);
    open(&mut output);
    assert!(output.cut_unstable(Lsn(10)));
    assert!(!output.cut_unstable(Lsn(10)));
    assert_eq!(output.asked_bytes, 10);
    assert!(output.fill_hole(hole, b"1".to_vec().into()));
    assert_eq!(sent(&mut output, 10), "ab1");
    assert!(output.is_empty());
}

/// A reply that is a long value, sent from where it is.
fn write_long(output: &mut Output, text: &str, lsn: u64) {
    let mut out = std::mem::take(&mut output.out);
    let mark = out.len();
    Reply::new(&mut out, false).blob(Blob::new(text.into()));
    if lsn > 0 {
        output.gate(mark, &out, Lsn(lsn));
    }
    output.out = out;
}

#[test]
fn long_values_leave_by_themselves_and_in_order() {
    let mut output = Output::default();
    write(&mut output, "a", 0);
    write_long(&mut output, "one", 0);
    let hole = open(&mut output);
    write_long(&mut output, "two", 10);
    write(&mut output, "b", 0);
    assert_eq!(output.unsent_bytes(), 1 + 9 + 9 + 1);
    assert_eq!(sent(&mut output, 0), "a$3\r\n");
    // The next command waits until a long value has left.
    let buffer = output.take_sendable(Lsn(0)).unwrap();
    assert!(matches!(&buffer, Outgoing::Blob(blob) if **blob == *b"one"));
    assert_eq!((output.unsent_bytes(), output.unread_bytes()), (3 + 2 + 9 + 1, 3 + 2 + 9 + 1));
    output.on_sent(buffer);
    assert_eq!(sent(&mut output, 9), "\r\n");
    assert_eq!(sent(&mut output, 9), "", "the hole is open");
    let mut reply = Replies::default();
    Reply::new(&mut reply, false).blob(Blob::new(b"three".to_vec()));
    assert!(output.fill_hole(hole, reply));
    for expect in ["$5\r\n", "three", "\r\n"] {
        assert_eq!(sent(&mut output, 9), expect);
    }
    assert_eq!(sent(&mut output, 9), "", "it is not stable");
    assert!(!output.is_empty());
    for expect in ["$3\r\n", "two", "\r\nb"] {
        assert_eq!(sent(&mut output, 10), expect);
    }
    assert!(output.is_empty() && output.unsent_bytes() == 0);
    write_long(&mut output, "lost", 20);
    assert!(output.cut_unstable(Lsn(10)));
    assert!(output.is_empty() && output.unsent_bytes() == 0);
}

#[test]
fn one_send_at_a_time() {
    let mut output = Output::default();
    write(&mut output, "a", 0);
    let buffer = output.take_sendable(Lsn(0)).unwrap();
    write(&mut output, "b", 0);
    assert!(output.take_sendable(Lsn(0)).is_none());
    assert!(!output.is_empty());
    output.on_sent(buffer);
    assert_eq!(sent(&mut output, 0), "b");
}
