//! Streams and consumer groups. What tells that a consumer is there which has got nothing is not asked: Redis 7.0 makes it later than 7.2.

use super::{Family, alike, same};

pub const FAMILY: Family = Family {
    name: "streams",
    prefix: "x",
    rows: &[
        same("XADD {key} {digit}-* (f {value})+").often(6),
        same("XADD {key} {stream-id} ({small} {value})+").often(4),
        same("XADD {key} [NOMKSTREAM] MAXLEN [=] {scan-count} {digit}-* f {small}").often(2),
        same("XADD {key} MINID {stream-id} {digit}-* f {small}"),
        same("XLEN {key}").often(2),
        same("XRANGE {key} (- | {stream-id} | '(5-1') (+ | {stream-id}) [COUNT {count}]").often(2),
        same("XREVRANGE {key} (+ | {stream-id}) (- | {stream-id}) [COUNT {count}]").often(2),
        same("XDEL {key} {stream-id}+").often(3),
        same("XTRIM {key} (MAXLEN {count} | MINID {stream-id})"),
        same("XSETID {key} 9-100"),
        same("XREAD [COUNT {scan-count}] STREAMS {key} ({stream-id} | $)").often(2),
        same("XREADGROUP GROUP g{digit} c{digit} [COUNT {scan-count}] [NOACK] STREAMS {key} >").often(6),
        same("XREADGROUP GROUP g{digit} c{digit} COUNT {scan-count} STREAMS {key} {stream-id}").often(2),
        same("XGROUP CREATE {key} g{digit} (0 | $ | {stream-id}) [MKSTREAM]").often(8),
        same("XGROUP SETID {key} g{digit} (0 | $ | {stream-id})"),
        same("XGROUP DELCONSUMER {key} g{digit} c{digit}"),
        same("XGROUP DESTROY {key} g{digit}"),
        same("XACK {key} g{digit} {stream-id}+").often(2),
        same("XCLAIM {key} g{digit} c{digit} 0 {stream-id}+ [FORCE | JUSTID | RETRYCOUNT 3]").often(2),
        same("XAUTOCLAIM {key} g{digit} c{digit} 0 (- | {stream-id}) [COUNT {scan-count}] [JUSTID]").often(2),
        same("XPENDING {key} g{digit}").often(2),
        alike("XPENDING {key} g{digit} - + 10 [c{digit}]"),
        alike("XINFO STREAM {key} [FULL]"),
        same("OBJECT ENCODING {key}"),
        same("DEL {key}"),
        same("COPY {key} {key} [REPLACE]"),
        same("RENAME {key} {key}"),
    ],
};
