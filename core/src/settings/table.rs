//! Parameters that mean something here, and those whose value is how Cairn is.

use super::value::Value;
use super::{Form, Guard, Parameter, Role, Settings};
use crate::limits::{BULK_BYTES_MAX, DATABASES_MAX, SHARDS_MAX, SLICE_ITEMS_MAX};
use crate::rdb::{VERSIONS_WRITTEN, Version};

const BYTES: Form = Form::Memory { min: 0, max: u64::MAX };
const INT_MAX: i64 = i32::MAX as i64;
const COUNT: Form = Form::Int { min: 0, max: i64::MAX };
const LENGTH: Form = Form::Memory { min: 0, max: i64::MAX as u64 };

const fn acts(name: &'static str, form: Form, default: &'static str, put: fn(&mut Settings, Value)) -> Parameter {
    Parameter { name, alias: "", form, default, role: Role::Acts(put), is_mutable: true, is_hidden: false }
}

/// As [`acts`], at start only.
const fn start(name: &'static str, form: Form, default: &'static str, put: fn(&mut Settings, Value)) -> Parameter {
    Parameter { is_mutable: false, ..acts(name, form, default, put) }
}

const fn fixed(name: &'static str, form: Form, default: &'static str, reason: &'static str) -> Parameter {
    Parameter { name, alias: "", form, default, role: Role::Fixed(reason), is_mutable: true, is_hidden: false }
}

const fn int(min: i64, max: i64) -> Form {
    Form::Int { min, max }
}

pub(super) const ACTING: &[Parameter] = &[
    start("bind", Form::Words, "127.0.0.1 -::1", |s, v| s.fields.bind = v.words()),
    start("port", int(0, 65535), "6379", |s, v| s.fields.port = v.int() as u16),
    start("unixsocket", Form::Text, "", |s, v| s.fields.unixsocket = v.text()),
    start("unixsocketperm", Form::Octal { max: 0o777 }, "0", |s, v| s.fields.unixsocketperm = v.int() as u32),
    acts("protected-mode", Form::Bool, "yes", |s, v| s.fields.protected_mode = v.bool()),
    start("tcp-backlog", int(0, INT_MAX), "511", |s, v| s.fields.tcp_backlog = v.int() as u32),
    acts("tcp-keepalive", int(0, INT_MAX), "300", |s, v| s.fields.tcp_keepalive_s = v.int() as u32),
    acts("timeout", int(0, INT_MAX), "0", |s, v| s.fields.timeout_s = v.int() as u64),
    acts("maxclients", int(1, u32::MAX as i64), "10000", |s, v| s.fields.maxclients = v.int() as u32),
    acts("proto-max-bulk-len", Form::Memory { min: 1024 * 1024, max: BULK_BYTES_MAX as u64 }, "512mb", |s, v| {
        s.fields.proto_max_bulk_len = v.bytes() as usize
    }),
    acts("client-query-buffer-limit", Form::Memory { min: 1024 * 1024, max: i64::MAX as u64 }, "1gb", |s, v| {
        s.fields.client_query_buffer_limit = v.bytes() as usize
    }),
    acts(
        "client-output-buffer-limit",
        Form::OutputLimits,
        "normal 1gb 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
        |s, v| {
            let Value::OutputLimits(limits) = v else { unreachable!("its form yields limits") };
            s.fields.client_output_buffer_limit = limits;
        },
    ),
    acts("requirepass", Form::Text, "", |s, v| s.fields.requirepass = Some(v.text()).filter(|hash| !hash.is_empty())),
    // Its values are users: `Settings::set` takes them.
    Parameter { is_hidden: true, ..start("user", Form::Words, "", |_, _| ()) },
    start("aclfile", Form::Text, "", |s, v| s.fields.aclfile = v.text()),
    acts("acllog-max-len", int(0, i64::MAX), "128", |s, v| s.fields.acllog_max_len = v.int() as usize),
    acts("acl-pubsub-default", Form::Enum(&["allchannels", "resetchannels"]), "resetchannels", |s, v| {
        s.fields.acl_pubsub_default_is_all = v.text() == "allchannels";
    }),
    start("enable-debug-command", Form::Enum(&["no", "yes", "local"]), "no", |s, v| {
        s.fields.enable_debug = Guard::of(&v.text());
    }),
    start("databases", int(1, DATABASES_MAX as i64), "16", |s, v| s.fields.databases = v.int() as u8),
    acts("maxmemory", BYTES, "0", |s, v| s.fields.maxmemory = v.bytes()),
    acts("slowlog-log-slower-than", int(-1, i64::MAX), "10000", |s, v| s.fields.slowlog_log_slower_than_us = v.int()),
    acts("slowlog-max-len", int(0, i64::MAX), "128", |s, v| s.fields.slowlog_max_len = v.int() as usize),
    Parameter {
        alias: "lua-time-limit",
        ..acts("busy-reply-threshold", int(0, i64::MAX), "5000", |s, v| {
            s.fields.busy_reply_threshold_ms = v.int() as u64;
        })
    },
    acts("script-memory", BYTES, "128mb", |s, v| s.fields.script_memory_bytes = v.bytes()),
    acts("latency-monitor-threshold", int(0, i64::MAX), "0", |s, v| {
        s.fields.latency_monitor_threshold_ms = v.int() as u64;
    }),
    acts("notify-keyspace-events", Form::Events, "", |s, v| {
        let Value::Events(events) = v else { unreachable!("its form yields events") };
        s.fields.notify_keyspace_events = events;
    }),
    acts("latency-tracking", Form::Bool, "yes", |s, v| s.fields.latency_tracking = v.bool()),
    acts("latency-tracking-info-percentiles", Form::Percentiles, "50 99 99.9", |s, v| {
        let Value::Percentiles(list) = v else { unreachable!("its form yields percentages") };
        s.fields.latency_tracking_info_percentiles = list;
    }),
    acts("tracking-table-max-keys", int(0, i64::MAX), "1000000", |s, v| {
        s.fields.tracking_table_max_keys = v.int() as u64;
    }),
    acts("txn-lock-timeout", int(0, INT_MAX), "5000", |s, v| s.fields.txn_lock_timeout_ms = v.int() as u64),
    acts("txn-idle-timeout", int(0, INT_MAX), "60000", |s, v| s.fields.txn_idle_timeout_ms = v.int() as u64),
    acts(
        "dump-payload-version",
        int(*VERSIONS_WRITTEN.start() as i64, *VERSIONS_WRITTEN.end() as i64),
        "11",
        |s, v| {
            s.fields.dump_payload_version = if v.int() == 10 { Version::Ten } else { Version::Eleven };
        },
    ),
    acts("slice-items", int(1, SLICE_ITEMS_MAX), "4096", |s, v| s.fields.slice_items = v.int() as u64),
    acts("txn-snapshot-memory", BYTES, "64mb", |s, v| s.fields.txn_snapshot_memory_bytes = v.bytes()),
    acts("balance-connections", Form::Bool, "yes", |s, v| s.fields.balance_connections = v.bool()),
    acts("hot-promote-rate", int(0, INT_MAX), "1000", |s, v| s.fields.hot_promote_rate = v.int() as u64),
    acts("hot-promote-seconds", int(1, INT_MAX), "60", |s, v| s.fields.hot_promote_seconds = v.int() as u64),
    acts("hll-sparse-max-bytes", LENGTH, "3000", |s, v| s.fields.thresholds.hll_sparse_bytes = v.bytes() as usize),
    Parameter {
        alias: "hash-max-ziplist-entries",
        ..acts("hash-max-listpack-entries", COUNT, "512", |s, v| s.fields.thresholds.hash.entries = v.int() as u64)
    },
    Parameter {
        alias: "hash-max-ziplist-value",
        ..acts("hash-max-listpack-value", LENGTH, "64", |s, v| s.fields.thresholds.hash.value_bytes = v.bytes())
    },
    Parameter {
        alias: "zset-max-ziplist-entries",
        ..acts("zset-max-listpack-entries", COUNT, "128", |s, v| s.fields.thresholds.zset.entries = v.int() as u64)
    },
    Parameter {
        alias: "zset-max-ziplist-value",
        ..acts("zset-max-listpack-value", LENGTH, "64", |s, v| s.fields.thresholds.zset.value_bytes = v.bytes())
    },
    Parameter {
        alias: "list-max-ziplist-size",
        ..acts("list-max-listpack-size", int(i32::MIN as i64, INT_MAX), "-2", |s, v| {
            s.fields.thresholds.list_size = v.int()
        })
    },
    acts("set-max-intset-entries", COUNT, "512", |s, v| s.fields.thresholds.intset_entries = v.int() as u64),
    acts("set-max-listpack-entries", COUNT, "128", |s, v| s.fields.thresholds.set.entries = v.int() as u64),
    acts("set-max-listpack-value", COUNT, "64", |s, v| s.fields.thresholds.set.value_bytes = v.int() as u64),
    acts("stream-node-max-entries", COUNT, "100", |s, v| s.fields.thresholds.stream_node_entries = v.int() as u64),
    start("dir", Form::Text, "./cairn-data", |s, v| s.fields.dir = v.text()),
    start("logfile", Form::Text, "", |s, v| s.fields.logfile = v.text()),
    acts("loglevel", Form::Enum(&["debug", "verbose", "notice", "warning", "nothing"]), "notice", |s, v| {
        s.fields.loglevel = v.text();
    }),
    start("log-format", Form::Enum(&["text", "logfmt", "json"]), "text", |s, v| s.fields.log_format = v.text()),
    acts("shutdown-timeout", int(0, INT_MAX), "10", |s, v| s.fields.shutdown_timeout_s = v.int() as u64),
    start("shards", int(0, SHARDS_MAX as i64), "0", |s, v| s.fields.shards = v.int() as u16),
    start("cpus", Form::Text, "", |s, v| s.fields.cpus = v.text()),
    start("memory", BYTES, "0", |s, v| s.fields.memory_bytes = v.bytes()),
    acts("scrub-bytes-per-second", BYTES, "16mb", |s, v| s.fields.scrub_bytes_per_second = v.bytes()),
    acts("scrub-interval", int(1, INT_MAX), "86400", |s, v| s.fields.scrub_interval_s = v.int() as u64),
    start("metrics-addr", Form::Text, "127.0.0.1:9121", |s, v| s.fields.metrics_addr = v.text()),
];

pub(super) const FIXED: &[Parameter] = &[
    fixed("appendonly", Form::Bool, "yes", "every write is in the log before it is answered"),
    fixed(
        "appendfsync",
        Form::Enum(&["everysec", "always", "no"]),
        "always",
        "every write is on stable storage before it is answered",
    ),
    fixed("save", Form::Save, "", "the log is durable at every moment, so there are no save points"),
    fixed(
        "maxmemory-policy",
        Form::Enum(&[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ]),
        "noeviction",
        "Cairn is the system of record: it never evicts",
    ),
    Parameter { is_mutable: false, ..fixed("cluster-enabled", Form::Bool, "no", "one node owns all slots") },
];
