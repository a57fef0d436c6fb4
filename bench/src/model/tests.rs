//! The model answers what Redis does.

use super::*;

/// Runs commands, given as lines of words, one after the other at millisecond 1000, and compares the replies.
fn check(script: &[(&str, &str)]) {
    let mut rows = Rows::default();
    for (line, expect) in script {
        let words: Vec<&str> = line.split(' ').collect();
        let reply = run(&mut rows, 1000, 0, &words).reply;
        assert_eq!(String::from_utf8(reply).unwrap().replace("\r\n", " "), format!("{expect} "), "{line}");
    }
}

#[test]
fn strings() {
    check(&[
        ("SET a 1 NX GET", "$-1"),
        ("SET a 2 NX GET", "$1 1"),
        ("INCR a", ":2"),
        ("APPEND a x", ":2"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SETRANGE b 2 z", ":3"),
        ("GETRANGE a -1 -1", "$1 x"),
        ("MSETNX a 1 c 2", ":0"),
        ("MSET c 1 d 2", "+OK"),
        ("MGET a c e", "*3 $2 2x $1 1 $-1"),
        ("DEL a c e", ":2"),
    ]);
}

#[test]
fn times_to_live_and_names() {
    check(&[
        ("SET a 1 PX 500", "+OK"),
        ("PTTL a", ":500"),
        ("SET a 2 KEEPTTL", "+OK"),
        ("PEXPIRETIME a", ":1500"),
        ("PEXPIREAT a 1400 GT", ":0"),
        ("COPY a b", ":1"),
        ("PERSIST a", ":1"),
        ("TTL a", ":-1"),
        ("RENAMENX a b", ":0"),
        ("RENAME b a", "+OK"),
        ("PTTL a", ":500"),
        ("SET a 1 PXAT 900", "+OK"),
        ("EXISTS a b", ":0"),
    ]);
}

#[test]
fn a_step_is_what_happens_together() {
    let mut rows = Rows::default();
    let mut steps = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        run(&mut rows, 0, 0, &words).steps.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(steps("MSET a 1 b 2"), [2]);
    assert_eq!(steps("DEL a b c"), [1, 1]);
    assert_eq!(steps("GET a"), [0; 0]);
}

#[test]
fn collections() {
    check(&[
        ("HSET h a 1 b 2", ":2"),
        ("HSET h b 3 c 4", ":1"),
        ("HMGET h a b d", "*3 $1 1 $1 3 $-1"),
        ("HINCRBY h a 5", ":6"),
        ("HDEL h a b d", ":2"),
        ("TYPE h", "+hash"),
        ("HDEL h c", ":1"),
        ("EXISTS h", ":0"),
        ("SADD s a b c a", ":3"),
        ("SMOVE s r b", ":1"),
        ("SMISMEMBER r a b", "*2 :0 :1"),
        ("PEXPIREAT s 5000", ":1"),
        ("SREM s a", ":1"),
        ("PTTL s", ":4000"),
        ("ZADD z 3 c 1 a 2 b", ":3"),
        ("ZADD z GT CH 2 c 5 a", ":1"),
        ("ZRANGE z 0 -1 WITHSCORES", "*6 $1 b $1 2 $1 c $1 3 $1 a $1 5"),
        ("ZRANK z a", ":2"),
        ("ZPOPMIN z 1", "*2 $1 b $1 2"),
        ("COPY z y", ":1"),
        ("ZREMRANGEBYRANK z 0 -1", ":2"),
        ("ZCOUNT y 3 4", ":1"),
        ("RPUSH l a b a c a", ":5"),
        ("LREM l -2 a", ":2"),
        ("LRANGE l 0 -1", "*3 $1 a $1 b $1 c"),
        ("LINSERT l AFTER b x", ":4"),
        ("LMOVE l m RIGHT LEFT", "$1 c"),
        ("LMOVE l l LEFT RIGHT", "$1 a"),
        ("LTRIM l 1 -1", "+OK"),
        ("LSET l -1 y", "+OK"),
        ("LRANGE l 0 -1", "*2 $1 x $1 y"),
        ("LPOP m", "$1 c"),
        ("RPOP l 0", "*0"),
        ("LPOP nothing 3", "*-1"),
        ("LINDEX m 0", "$-1"),
    ]);
}

#[test]
fn streams() {
    check(&[
        ("XADD s 1-1 a b", "$3 1-1"),
        ("XADD s 1-1 a b", "-ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        ("XADD s 2-1 c d", "$3 2-1"),
        (
            "XREADGROUP GROUP g one COUNT 1 STREAMS s >",
            "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
        ),
        ("XGROUP CREATE s g 0 MKSTREAM", "+OK"),
        ("XREADGROUP GROUP g one COUNT 1 STREAMS s >", "*1 *2 $1 s *1 *2 $3 1-1 *2 $1 a $1 b"),
        ("XREADGROUP GROUP g one COUNT 9 STREAMS s >", "*1 *2 $1 s *1 *2 $3 2-1 *2 $1 c $1 d"),
        ("XREADGROUP GROUP g one COUNT 9 STREAMS s >", "*-1"),
        ("XDEL s 1-1 1-2", ":1"),
        ("XAUTOCLAIM s g two 0 0 COUNT 1", "*3 $3 2-1 *0 *1 $3 1-1"),
        ("XAUTOCLAIM s g two 0 0 COUNT 5", "*3 $3 0-0 *1 *2 $3 2-1 *2 $1 c $1 d *0"),
        ("XACK s g 1-1 2-1", ":1"),
        ("XTRIM s MAXLEN = 0", ":1"),
        ("XLEN s", ":0"),
        ("TYPE s", "+stream"),
        ("XADD s 2-1 a b", "-ERR The ID specified in XADD is equal or smaller than the target stream top item"),
    ]);
}

#[test]
fn fields_that_expire() {
    check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HPEXPIREAT h 5000 FIELDS 2 a none", "*2 :1 :-2"),
        ("HEXPIRE h 3 NX FIELDS 2 a b", "*2 :0 :1"),
        ("HPEXPIRE h 5000 GT FIELDS 3 a b c", "*3 :1 :1 :0"),
        ("HPTTL h FIELDS 4 a b c none", "*4 :5000 :5000 :-1 :-2"),
        ("HINCRBY h a 4", ":5"),
        ("HGETEX h PERSIST FIELDS 2 a none", "*2 $1 5 $-1"),
        ("HPEXPIRETIME h FIELDS 2 a b", "*2 :-1 :6000"),
        ("HSET h b 7", ":0"),
        ("HPERSIST h FIELDS 2 b none", "*2 :-1 :-2"),
        ("HSETEX h FNX PX 500 FIELDS 2 c 1 d 1", ":0"),
        ("HSETEX h FXX PX 500 FIELDS 1 c 4", ":1"),
        ("HSETEX h KEEPTTL FIELDS 2 c 5 d 6", ":1"),
        ("HTTL h FIELDS 2 c d", "*2 :1 :-1"),
        ("HEXPIREAT h 1 FIELDS 1 a", "*1 :2"),
        ("HGETDEL h FIELDS 2 a b", "*2 $-1 $1 7"),
        ("HSETEX h PXAT 900 FIELDS 2 c 5 d 6", ":1"),
        ("EXISTS h", ":0"),
    ]);
}
