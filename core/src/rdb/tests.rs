//! Values there and back, what Redis writes, and payloads that were damaged.

use super::file::{Found, Walk};
use super::read::Step;
use super::stream::{Group, Stream};
use super::*;
use crate::collection::packed;
use crate::collection::stream::Facts;
use crate::collection::stream::groups::{Consumer, Pending};
use crate::collection::stream::id::EntryId;
use proptest::prelude::*;

const MAX: u64 = 1 << 20;

fn entries(kind: Kind, items: &[&[u8]]) -> Value {
    let mut bytes = Vec::new();
    items.iter().for_each(|item| packed::push(&mut bytes, item));
    let count = items.len() as u64 / if matches!(kind, Kind::Hash | Kind::ZSet) { 2 } else { 1 };
    Value::Entries { kind, bytes, count }
}

fn timed(fields: &[(&[u8], &[u8], u64)]) -> Value {
    let mut bytes = Vec::new();
    for (field, value, expire_ms) in fields {
        [field, value, &deadline_bytes(*expire_ms)[..]].iter().for_each(|item| packed::push(&mut bytes, item));
    }
    Value::Timed { bytes, count: fields.len() as u64 }
}

fn stream(ids: &[(u64, u64)], fields: &[&[u8]], groups: Vec<Group>) -> Value {
    let mut bytes = Vec::new();
    for (ms, seq) in ids {
        let mut entry = EntryId { ms: *ms, seq: *seq }.bytes().to_vec();
        fields.iter().for_each(|field| packed::push(&mut entry, field));
        packed::push(&mut bytes, &entry);
    }
    let id = |at: Option<&(u64, u64)>| at.map_or(EntryId::MIN, |(ms, seq)| EntryId { ms: *ms, seq: *seq });
    let (first, top, len) = (id(ids.first()), id(ids.last()), ids.len() as u64);
    let facts = Facts { len, first, top, last: top, added: len, max_deleted: EntryId::MIN };
    Value::Stream(Box::new(Stream { entries: bytes, facts, groups }))
}

fn group() -> Group {
    let id = |ms| EntryId { ms, seq: 1 };
    let consumer = |number, active_ms| Consumer { number, seen_ms: 1_700_000_000_000, active_ms };
    let pending = |consumer, count| Pending { consumer, delivered_ms: 1_700_000_000_001, count };
    Group {
        name: b"group".to_vec(),
        last: id(2),
        read: None,
        consumers: vec![(b"a".to_vec(), consumer(0, Some(5))), (b"b".to_vec(), consumer(1, None))],
        pending: vec![(id(1), pending(1, 1)), (id(2), pending(0, 70_000))],
    }
}

fn some() -> Vec<Value> {
    let scores = [f64::NEG_INFINITY, -1.5, 0.0, 17.0, f64::INFINITY].map(f64::to_le_bytes);
    vec![
        Value::String(b"".to_vec()),
        Value::String(vec![7; 20_000]),
        entries(Kind::List, &[b"a", b"", b"12", b"a"]),
        entries(Kind::Set, &[b"a", b"-5"]),
        entries(Kind::Hash, &[b"field", b"value", b"other", b""]),
        entries(
            Kind::ZSet,
            &[b"a", &scores[0], b"b", &scores[1], b"c", &scores[2], b"d", &scores[3], b"e", &scores[4]],
        ),
        timed(&[(b"field", b"value", 1_700_000_000_000), (b"other", b"", 0), (b"third", b"x", DEADLINE_MS_MAX)]),
        stream(&[], &[], vec![]),
        stream(&[(1, 1), (2, 1), (2, 2), (300, 0)], &[b"f", b"1", b"g", b"x"], vec![group()]),
    ]
}

#[test]
fn values_come_back() {
    for value in some() {
        let bytes = payload::encode(&value, Version::Eleven);
        assert_eq!(payload::open(&bytes, MAX), Ok(value), "{bytes:x?}");
    }
    // Version 10 does not say when a consumer was active.
    let mut group = group();
    let value = stream(&[(1, 1), (2, 1)], &[b"f", b"1"], vec![group.clone()]);
    let read = payload::open(&payload::encode(&value, Version::Ten), MAX);
    group.consumers.iter_mut().for_each(|(_, consumer)| consumer.active_ms = Some(consumer.seen_ms));
    assert_eq!(read, Ok(stream(&[(1, 1), (2, 1)], &[b"f", b"1"], vec![group])));
}

#[test]
fn nodes_of_streams_are_divided() {
    let ids: Vec<(u64, u64)> = (1..1001).map(|at| (at * 1000, at)).collect();
    for fields in [&[&b"f"[..], b"1"][..], &[b"f", &[7; 3000]], &[b"f", &[8; 5000], b"f", b"2"]] {
        let value = stream(&ids, fields, vec![]);
        assert_eq!(payload::open(&payload::encode(&value, Version::Ten), MAX), Ok(value));
    }
}

fn check(body: &[u8], expect: Value) {
    assert_eq!(payload::decode(body, MAX), Ok(expect), "{body:x?}");
}

/// A string of a body.
fn long(of_type: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![of_type];
    write::string(&mut out, bytes);
    out
}

#[test]
fn the_encodings_that_redis_has_had_are_read() {
    check(b"\x00\xc0\xfe", Value::String(b"-2".to_vec()));
    check(b"\x00\xc1\x00\x80", Value::String(b"-32768".to_vec()));
    check(b"\x00\xc2\x15\xcd\x5b\x07", Value::String(b"123456789".to_vec()));
    check(b"\x00\xc3\x06\x05\x00a\x20\x00\x00b", Value::String(b"aaaab".to_vec()));
    check(
        b"\x03\x02\x01a\x033.5\x01b\xff",
        entries(Kind::ZSet, &[b"a", &3.5f64.to_le_bytes(), b"b", &f64::NEG_INFINITY.to_le_bytes()]),
    );
    let ziplist = b"\x1c\0\0\0\x16\0\0\0\x05\0\0\x01a\x03\xf3\x02\xfe\xfb\x03\xc0\xe8\x03\x04\xf0\x00\x00\x80\xff";
    let items: [&[u8]; 5] = [b"a", b"2", b"-5", b"1000", b"-8388608"];
    check(&long(kind::LIST_ZIPLIST, ziplist), entries(Kind::List, &items));
    let mut quicklist = vec![kind::LIST_QUICKLIST, 2];
    (0..2).for_each(|_| write::string(&mut quicklist, ziplist));
    check(&quicklist, entries(Kind::List, &[items, items].concat()));
    let ziplist = b"\x12\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x031.5\xff";
    assert!(payload::decode(&long(kind::HASH_ZIPLIST, ziplist), MAX).is_err(), "its length is not what it says");
    let ziplist = b"\x14\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x041.50\xff";
    check(&long(kind::HASH_ZIPLIST, ziplist), entries(Kind::Hash, &[b"a", b"1.50"]));
    check(&long(kind::ZSET_ZIPLIST, ziplist), entries(Kind::ZSet, &[b"a", &1.5f64.to_le_bytes()]));
    check(
        &long(kind::HASH_ZIPMAP, b"\x02\x01a\x02\x01bc?\x01x\x00\x00\xff"),
        entries(Kind::Hash, &[b"a", b"bc", b"x", b""]),
    );
    check(&long(kind::SET_INTSET, b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\x00"), entries(Kind::Set, &[b"-1", b"5"]));
    check(
        &long(kind::SET_INTSET, b"\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x80"),
        entries(Kind::Set, &[b"-9223372036854775808"]),
    );
}

#[test]
fn listpacks_hold_integers_and_strings_of_all_lengths() {
    let mut items: Vec<Vec<u8>> = [
        0, 1, 63, 64, 120, 125, 126, 127, 128, 4095, 4096, 16_375, 16_376, 16_381, 16_382, 16_383, 2_097_145, 2_097_151,
    ]
    .map(|len| vec![b'x'; len])
    .to_vec();
    for edge in
        [0i64, 127, 128, 4095, 4096, 32_767, 32_768, 8_388_607, 8_388_608, i64::from(i32::MAX), 1 << 31, i64::MAX]
    {
        items.extend([edge.to_string().into_bytes(), edge.wrapping_neg().wrapping_sub(1).to_string().into_bytes()]);
    }
    items.extend([b"007".to_vec(), b"-0".to_vec(), b"9223372036854775808".to_vec()]);
    let mut packing = listpack::Packing::default();
    for item in &items {
        let before = packing.bytes() as u64;
        packing.push(item);
        assert_eq!(packing.bytes() as u64 - before, listpack::entry_bytes(item));
    }
    let bytes = packing.finish();
    let refs: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    check(&long(kind::SET_LISTPACK, &bytes), entries(Kind::Set, &refs));
    let mut nodes = vec![kind::LIST_QUICKLIST_2, 2, 2];
    write::string(&mut nodes, &bytes);
    nodes.extend(b"\x01\x02ab");
    check(&nodes, entries(Kind::List, &[&refs[..], &[b"ab"]].concat()));
}

#[test]
fn what_is_refused_is_named_with_its_place() {
    let check = |body: &[u8], what, at| assert_eq!(payload::decode(body, 5), Err(Invalid { what, at }), "{body:x?}");
    check(b"", What::Short(1), 0);
    check(b"\x00\x05abc", What::Short(2), 5);
    check(b"\x00\x01ab", What::Rest, 3);
    check(b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff", What::Length, 10);
    check(b"\x00\x82", What::Length, 1);
    check(b"\x00\xc4", What::StringForm(4), 1);
    check(b"\x00\xc3\x06\x05\x00a", What::Short(4), 6);
    check(b"\x00\xc3\x06\x05\x00a\x20\x01\x00b", What::Lzf, 1);
    check(b"\x00\xc3\x03\x05\x00a\x20", What::Lzf, 1);
    check(b"\x01\x00", What::Empty, 1);
    check(b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f", What::Score, 4);
    check(b"\x08", What::Type(8), 1);
    check(b"\x18\x05\0\0\0\0\0\0\0\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff", What::Deadline, 10);
    check(b"\x07\x81\x46\x22\x8d\xa4\x20\x8b\x51\x03", What::Module("RiKNpCCLU".into()), 1);
    check(b"\x12\x01\x03\x00", What::Container(3), 2);
    check(b"\x10\x06\x06\0\0\0\0\0", What::Listpack, 1);
    check(b"\x0b\x08\x03\0\0\0\0\0\0\0", What::Intset, 1);
    check(b"\x0b\x08\x02\0\0\0\0\0\0\0", What::Empty, 1);
}

/// What unpacking may come to: as much as is allowed, and a byte more.
#[test]
fn packed_strings_unpack_to_so_many_bytes_and_no_more() {
    for (max, is_taken) in [(4, false), (5, true), (6, true)] {
        let read = payload::decode(b"\x00\xc3\x06\x05\x00a\x20\x00\x00b", max);
        assert_eq!(read.is_ok(), is_taken, "{read:?}");
        assert!(is_taken || read == Err(Invalid { what: What::Large(max), at: 1 }));
    }
}

#[test]
fn footers_are_checked() {
    let bytes = payload::encode(&some()[2], Version::Ten);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(payload::body(&damaged, VERSION_MAX).is_err());
        assert!(payload::body(&bytes[..at], VERSION_MAX).is_err());
    }
    assert!(payload::body(&bytes, 9).is_err() && payload::body(&bytes, 10).is_ok());
}

fn file() -> Vec<u8> {
    let mut out = Vec::new();
    write::header(&mut out, Version::Ten as u16);
    write::aux(&mut out, "redis-ver", b"7.0.15");
    write::function(&mut out, b"#!lua name=l");
    // Of a module: its id, when it was written, an integer, a string, the end.
    out.extend(
        b"\xf7\x81\x46\x22\x8d\xa4\x20\x8b\x51\x03\x02\x01\x01\x05\x05\x01x\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x00",
    );
    write::database(&mut out, 3, 9, 1);
    for (at, value) in some().iter().enumerate() {
        let bytes = payload::encode(value, Version::Ten);
        let body = payload::body(&bytes, VERSION_MAX).unwrap();
        write::key(&mut out, &[b'k', at as u8], (at == 1).then_some(u64::MAX), body);
    }
    let mut crc = Crc64::default();
    let rest = out.split_off(9);
    crc.add(&out);
    let mut rest = rest;
    write::end(&mut rest, crc);
    [out, rest].concat()
}

/// All that is found in a file that comes in pieces of this length.
fn walk(bytes: &[u8], piece: usize) -> Result<(Vec<Found>, Vec<u8>), Invalid> {
    let (mut walk, mut found, mut out) = (Walk::new(MAX), Vec::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    loop {
        match walk.step(&bytes[start..end], &mut out) {
            Ok((taken, step)) => {
                start += taken;
                let is_end = matches!(step, Found::End { .. });
                found.push(step);
                if is_end {
                    assert_eq!(walk.taken(), start as u64);
                    return Ok((found, out));
                }
            }
            Err(Invalid { what: What::Short(_), .. }) if end < bytes.len() => end = (end + piece).min(bytes.len()),
            Err(invalid) => return Err(invalid),
        }
    }
}

#[test]
fn files_are_read_in_any_pieces() {
    let bytes = file();
    let (found, out) = walk(&bytes, bytes.len()).unwrap();
    assert_eq!(found[0], Found::Header { version: 10 });
    assert_eq!(found[1], Found::Aux { name: b"redis-ver".to_vec(), value: b"7.0.15".to_vec() });
    assert_eq!(found[2], Found::Function(b"#!lua name=l".to_vec()));
    assert_eq!(found[3], Found::ModuleAux { name: "RiKNpCCLU".into() });
    assert_eq!(found[4..6], [Found::Database(3), Found::Sizes { keys: 9, expiring: 1 }]);
    assert_eq!(found[6], Found::Key { key: b"k\0".to_vec(), kind: Kind::String, is_timed: false, expire_ms: None });
    assert_eq!(found[7..9], [Found::Piece(Step::String), Found::Piece(Step::End)]);
    assert_eq!(
        found[9],
        Found::Key { key: b"k\x01".to_vec(), kind: Kind::String, is_timed: false, expire_ms: Some(u64::MAX) }
    );
    assert_eq!(found.last(), Some(&Found::End { is_verified: true }));
    let keys = |found: &[Found]| found.iter().filter(|found| matches!(found, Found::Key { .. })).count();
    assert_eq!(keys(&found), 9);
    for piece in [1, 7, 1000] {
        let (other, same) = walk(&bytes, piece).unwrap();
        assert!(keys(&other) == 9 && same == out, "{piece}");
    }
}

#[test]
fn files_that_are_damaged_or_cut_off_are_refused() {
    let bytes = file();
    for at in (0..bytes.len()).filter(|at| !(200..20_000).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(walk(&damaged, bytes.len()).is_err(), "{at}");
        assert!(matches!(walk(&bytes[..at], bytes.len()), Err(Invalid { what: What::Short(_), .. })), "{at}");
    }
    let end = bytes.len();
    let unknown = [&bytes[..end - 8], &[0; 8]].concat();
    assert_eq!(walk(&unknown, end).unwrap().0.last(), Some(&Found::End { is_verified: false }));
    assert_eq!(walk(b"REDIS0013", 9), Err(Invalid { what: What::Version(13), at: 5 }));
    assert_eq!(walk(b"RADIS0010", 9), Err(Invalid { what: What::Magic, at: 0 }));
}

proptest! {
    #[test]
    fn random_values_come_back(
        kind in prop_oneof![Just(Kind::List), Just(Kind::Set), Just(Kind::Hash)],
        items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..40),
        ids in prop::collection::btree_set((0u64..u64::MAX, any::<u64>()), 0..40),
    ) {
        let refs: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        let paired = &refs[..refs.len() / 2 * 2];
        let items = if kind == Kind::Hash { paired } else { &refs[..] };
        prop_assume!(!items.is_empty() && !paired.is_empty());
        let ids: Vec<(u64, u64)> = ids.into_iter().collect();
        for value in [entries(kind, items), stream(&ids, paired, vec![group()])] {
            let bytes = payload::encode(&value, Version::Eleven);
            prop_assert_eq!(payload::open(&bytes, MAX), Ok(value));
        }
    }
}
