//! Parameters of Redis 7.2 that have no effect here: their forms and defaults, and the reason, for the operator.

use super::{Form, Parameter, Role};

const INT_MAX: i64 = i32::MAX as i64;

const SHUTDOWN: Form = Form::Flags(&["default", "save", "nosave", "now", "force"]);

const AOF: &str = "Cairn has a log of its own, which is always on and always synced; there is no append-only file";
const RDB: &str = "Cairn does not fork and writes no RDB files";
const THREADS: &str = "one pinned worker per shard does all the work; see `shards` and `cpus`";
const TURN: &str = "the turn of a worker sets the pace, not a frequency";
const EVICTION: &str = "Cairn is the system of record: it never evicts";
const ENCODINGS: &str = "values have one encoding, in tree pages; there is nothing to convert at a size";
const MEMORY: &str =
    "pages come from a pool of fixed size: there are no hash tables to resize, no heap to defragment, no lazy frees";
const REPLICATION: &str = "this version has no replication";
const CLUSTER: &str = "one node owns all slots";
const TLS: &str = "this version does not speak TLS: put a TLS proxy in front";
const PROCESS: &str = "the server runs in the foreground; its supervisor starts, names and watches it";
const SYSLOG: &str = "messages go to standard output or to `logfile`";
const SCRIPTS: &str = "this version loads no modules, and scripts always are replicated by their effects";
const COMMANDS: &str = "commands keep their names, and no parameter is guarded";
const OUTGOING: &str = "Cairn opens no connections of its own, and marks no sockets";
const OLD: &str = "Redis itself ignores it since 7.0";

const fn idle(name: &'static str, form: Form, default: &'static str, reason: &'static str) -> Parameter {
    Parameter { name, alias: "", form, default, role: Role::Idle(reason), is_mutable: true, is_hidden: false }
}

pub(super) const IDLE: &[Parameter] = &[
    Parameter { is_mutable: false, ..idle("appendfilename", Form::Text, "appendonly.aof", AOF) },
    Parameter { is_mutable: false, ..idle("appenddirname", Form::Text, "appendonlydir", AOF) },
    idle("auto-aof-rewrite-percentage", Form::Int { min: 0, max: INT_MAX }, "100", AOF),
    idle("auto-aof-rewrite-min-size", Form::Memory { min: 0, max: i64::MAX as u64 }, "67108864", AOF),
    idle("aof-rewrite-incremental-fsync", Form::Bool, "yes", AOF),
    idle("aof-load-truncated", Form::Bool, "yes", AOF),
    idle("aof-use-rdb-preamble", Form::Bool, "yes", AOF),
    idle("aof-timestamp-enabled", Form::Bool, "no", AOF),
    idle("aof-disable-auto-gc", Form::Bool, "no", AOF),
    idle("no-appendfsync-on-rewrite", Form::Bool, "no", AOF),
    Parameter { is_mutable: false, ..idle("aof_rewrite_cpulist", Form::Text, "", AOF) },
    Parameter { is_mutable: false, ..idle("dbfilename", Form::Text, "dump.rdb", RDB) },
    idle("rdbcompression", Form::Bool, "yes", RDB),
    Parameter { is_mutable: false, ..idle("rdbchecksum", Form::Bool, "yes", RDB) },
    idle("rdb-del-sync-files", Form::Bool, "no", RDB),
    idle("rdb-save-incremental-fsync", Form::Bool, "yes", RDB),
    idle("stop-writes-on-bgsave-error", Form::Bool, "yes", RDB),
    idle("sanitize-dump-payload", Form::Enum(&["no", "yes", "clients"]), "no", RDB),
    Parameter { is_mutable: false, ..idle("bgsave_cpulist", Form::Text, "", RDB) },
    idle("propagation-error-behavior", Form::Enum(&["ignore", "panic", "panic-on-replicas"]), "ignore", RDB),
    Parameter { is_mutable: false, ..idle("io-threads", Form::Int { min: 1, max: 128 }, "1", THREADS) },
    Parameter { is_mutable: false, ..idle("io-threads-do-reads", Form::Bool, "no", THREADS) },
    Parameter { is_mutable: false, ..idle("server_cpulist", Form::Text, "", THREADS) },
    Parameter { is_mutable: false, ..idle("bio_cpulist", Form::Text, "", THREADS) },
    idle("hz", Form::Int { min: 0, max: INT_MAX }, "10", TURN),
    idle("dynamic-hz", Form::Bool, "yes", TURN),
    idle("active-expire-effort", Form::Int { min: 1, max: 10 }, "1", TURN),
    idle("max-new-connections-per-cycle", Form::Int { min: 1, max: 1000 }, "10", TURN),
    idle("max-new-tls-connections-per-cycle", Form::Int { min: 1, max: 1000 }, "1", TURN),
    idle("maxmemory-samples", Form::Int { min: 1, max: 64 }, "5", EVICTION),
    idle("maxmemory-eviction-tenacity", Form::Int { min: 0, max: 100 }, "10", EVICTION),
    idle("maxmemory-clients", Form::MemoryOrPercent, "0", EVICTION),
    idle("lfu-log-factor", Form::Int { min: 0, max: INT_MAX }, "10", EVICTION),
    idle("lfu-decay-time", Form::Int { min: 0, max: INT_MAX }, "1", EVICTION),
    idle("list-compress-depth", Form::Int { min: 0, max: INT_MAX }, "0", ENCODINGS),
    idle("stream-node-max-bytes", Form::Memory { min: 0, max: i64::MAX as u64 }, "4096", ENCODINGS),
    idle("activerehashing", Form::Bool, "yes", MEMORY),
    idle("activedefrag", Form::Bool, "no", MEMORY),
    idle("jemalloc-bg-thread", Form::Bool, "yes", MEMORY),
    idle("active-defrag-cycle-min", Form::Int { min: 1, max: 99 }, "1", MEMORY),
    idle("active-defrag-cycle-max", Form::Int { min: 1, max: 99 }, "25", MEMORY),
    idle("active-defrag-ignore-bytes", Form::Memory { min: 1, max: i64::MAX as u64 }, "104857600", MEMORY),
    idle("active-defrag-max-scan-fields", Form::Int { min: 1, max: i64::MAX }, "1000", MEMORY),
    idle("active-defrag-threshold-lower", Form::Int { min: 0, max: 1000 }, "10", MEMORY),
    idle("active-defrag-threshold-upper", Form::Int { min: 0, max: 1000 }, "100", MEMORY),
    idle("lazyfree-lazy-eviction", Form::Bool, "no", MEMORY),
    idle("lazyfree-lazy-expire", Form::Bool, "no", MEMORY),
    idle("lazyfree-lazy-server-del", Form::Bool, "no", MEMORY),
    idle("lazyfree-lazy-user-del", Form::Bool, "no", MEMORY),
    idle("lazyfree-lazy-user-flush", Form::Bool, "no", MEMORY),
    Parameter { alias: "slaveof", is_mutable: false, ..idle("replicaof", Form::Words, "", REPLICATION) },
    idle("masteruser", Form::Text, "", REPLICATION),
    idle("masterauth", Form::Text, "", REPLICATION),
    Parameter { alias: "slave-serve-stale-data", ..idle("replica-serve-stale-data", Form::Bool, "yes", REPLICATION) },
    Parameter { alias: "slave-read-only", ..idle("replica-read-only", Form::Bool, "yes", REPLICATION) },
    Parameter {
        alias: "slave-priority",
        ..idle("replica-priority", Form::Int { min: 0, max: INT_MAX }, "100", REPLICATION)
    },
    Parameter { alias: "slave-announce-ip", ..idle("replica-announce-ip", Form::Text, "", REPLICATION) },
    Parameter {
        alias: "slave-announce-port",
        ..idle("replica-announce-port", Form::Int { min: 0, max: 65535 }, "0", REPLICATION)
    },
    idle("replica-announced", Form::Bool, "yes", REPLICATION),
    Parameter { alias: "slave-ignore-maxmemory", ..idle("replica-ignore-maxmemory", Form::Bool, "yes", REPLICATION) },
    Parameter { alias: "slave-lazy-flush", ..idle("replica-lazy-flush", Form::Bool, "no", REPLICATION) },
    idle("replica-ignore-disk-write-errors", Form::Bool, "no", REPLICATION),
    Parameter {
        alias: "repl-ping-slave-period",
        ..idle("repl-ping-replica-period", Form::Int { min: 1, max: INT_MAX }, "10", REPLICATION)
    },
    idle("repl-timeout", Form::Int { min: 1, max: INT_MAX }, "60", REPLICATION),
    idle("repl-disable-tcp-nodelay", Form::Bool, "no", REPLICATION),
    idle("repl-backlog-size", Form::Memory { min: 1, max: i64::MAX as u64 }, "1048576", REPLICATION),
    idle("repl-backlog-ttl", Form::Int { min: 0, max: i64::MAX }, "3600", REPLICATION),
    idle("repl-diskless-sync", Form::Bool, "yes", REPLICATION),
    idle("repl-diskless-sync-delay", Form::Int { min: 0, max: INT_MAX }, "5", REPLICATION),
    idle("repl-diskless-sync-max-replicas", Form::Int { min: 0, max: INT_MAX }, "0", REPLICATION),
    idle("repl-diskless-load", Form::Enum(&["disabled", "on-empty-db", "swapdb"]), "disabled", REPLICATION),
    Parameter {
        alias: "min-slaves-to-write",
        ..idle("min-replicas-to-write", Form::Int { min: 0, max: INT_MAX }, "0", REPLICATION)
    },
    Parameter {
        alias: "min-slaves-max-lag",
        ..idle("min-replicas-max-lag", Form::Int { min: 0, max: INT_MAX }, "10", REPLICATION)
    },
    Parameter { is_mutable: false, ..idle("cluster-config-file", Form::Text, "nodes.conf", CLUSTER) },
    idle("cluster-node-timeout", Form::Int { min: 0, max: i64::MAX }, "15000", CLUSTER),
    Parameter { is_mutable: false, ..idle("cluster-port", Form::Int { min: 0, max: 65535 }, "0", CLUSTER) },
    idle("cluster-migration-barrier", Form::Int { min: 0, max: INT_MAX }, "1", CLUSTER),
    Parameter {
        alias: "cluster-slave-validity-factor",
        ..idle("cluster-replica-validity-factor", Form::Int { min: 0, max: INT_MAX }, "10", CLUSTER)
    },
    Parameter { alias: "cluster-slave-no-failover", ..idle("cluster-replica-no-failover", Form::Bool, "no", CLUSTER) },
    idle("cluster-require-full-coverage", Form::Bool, "yes", CLUSTER),
    idle("cluster-allow-reads-when-down", Form::Bool, "no", CLUSTER),
    idle("cluster-allow-pubsubshard-when-down", Form::Bool, "yes", CLUSTER),
    idle("cluster-allow-replica-migration", Form::Bool, "yes", CLUSTER),
    idle("cluster-announce-ip", Form::Text, "", CLUSTER),
    idle("cluster-announce-hostname", Form::Text, "", CLUSTER),
    idle("cluster-announce-human-nodename", Form::Text, "", CLUSTER),
    idle("cluster-announce-port", Form::Int { min: 0, max: 65535 }, "0", CLUSTER),
    idle("cluster-announce-tls-port", Form::Int { min: 0, max: 65535 }, "0", CLUSTER),
    idle("cluster-announce-bus-port", Form::Int { min: 0, max: 65535 }, "0", CLUSTER),
    idle("cluster-link-sendbuf-limit", Form::Memory { min: 0, max: i64::MAX as u64 }, "0", CLUSTER),
    idle("cluster-preferred-endpoint-type", Form::Enum(&["ip", "hostname", "unknown-endpoint"]), "ip", CLUSTER),
    idle("tls-port", Form::Int { min: 0, max: 65535 }, "0", TLS),
    idle("tls-cluster", Form::Bool, "no", TLS),
    idle("tls-replication", Form::Bool, "no", TLS),
    idle("tls-auth-clients", Form::Enum(&["no", "yes", "optional"]), "yes", TLS),
    idle("tls-prefer-server-ciphers", Form::Bool, "no", TLS),
    idle("tls-session-caching", Form::Bool, "yes", TLS),
    idle("tls-session-cache-size", Form::Int { min: 0, max: INT_MAX }, "20480", TLS),
    idle("tls-session-cache-timeout", Form::Int { min: 0, max: INT_MAX }, "300", TLS),
    idle("tls-cert-file", Form::Text, "", TLS),
    idle("tls-key-file", Form::Text, "", TLS),
    idle("tls-key-file-pass", Form::Text, "", TLS),
    idle("tls-client-cert-file", Form::Text, "", TLS),
    idle("tls-client-key-file", Form::Text, "", TLS),
    idle("tls-client-key-file-pass", Form::Text, "", TLS),
    idle("tls-dh-params-file", Form::Text, "", TLS),
    idle("tls-ca-cert-file", Form::Text, "", TLS),
    idle("tls-ca-cert-dir", Form::Text, "", TLS),
    idle("tls-protocols", Form::Text, "", TLS),
    idle("tls-ciphers", Form::Text, "", TLS),
    idle("tls-ciphersuites", Form::Text, "", TLS),
    Parameter { is_mutable: false, ..idle("daemonize", Form::Bool, "no", PROCESS) },
    Parameter { is_mutable: false, ..idle("pidfile", Form::Text, "", PROCESS) },
    Parameter {
        is_mutable: false,
        ..idle("supervised", Form::Enum(&["upstart", "systemd", "auto", "no"]), "no", PROCESS)
    },
    Parameter { is_mutable: false, ..idle("set-proc-title", Form::Bool, "yes", PROCESS) },
    idle("proc-title-template", Form::Text, "{title} {listen-addr} {server-mode}", PROCESS),
    Parameter { is_mutable: false, ..idle("always-show-logo", Form::Bool, "no", PROCESS) },
    idle("oom-score-adj", Form::Enum(&["no", "yes", "relative", "absolute"]), "no", PROCESS),
    idle("oom-score-adj-values", Form::Words, "0 200 800", PROCESS),
    Parameter { is_mutable: false, ..idle("disable-thp", Form::Bool, "yes", PROCESS) },
    idle("shutdown-on-sigint", SHUTDOWN, "default", PROCESS),
    idle("shutdown-on-sigterm", SHUTDOWN, "default", PROCESS),
    idle("crash-log-enabled", Form::Bool, "yes", PROCESS),
    idle("crash-memcheck-enabled", Form::Bool, "yes", PROCESS),
    idle("ignore-warnings", Form::Text, "", PROCESS),
    idle("locale-collate", Form::Text, "", PROCESS),
    Parameter { is_mutable: false, ..idle("syslog-enabled", Form::Bool, "no", SYSLOG) },
    Parameter { is_mutable: false, ..idle("syslog-ident", Form::Text, "redis", SYSLOG) },
    Parameter {
        is_mutable: false,
        ..idle(
            "syslog-facility",
            Form::Enum(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]),
            "local0",
            SYSLOG,
        )
    },
    Parameter { is_hidden: true, ..idle("lua-replicate-commands", Form::Bool, "yes", SCRIPTS) },
    Parameter { is_mutable: false, is_hidden: true, ..idle("loadmodule", Form::Words, "", SCRIPTS) },
    Parameter {
        is_mutable: false,
        ..idle("enable-module-command", Form::Enum(&["no", "yes", "local"]), "no", SCRIPTS)
    },
    Parameter { is_mutable: false, is_hidden: true, ..idle("rename-command", Form::Words, "", COMMANDS) },
    Parameter {
        is_mutable: false,
        ..idle("enable-protected-configs", Form::Enum(&["no", "yes", "local"]), "no", COMMANDS)
    },
    idle("bind-source-addr", Form::Text, "", OUTGOING),
    Parameter {
        is_mutable: false,
        ..idle("socket-mark-id", Form::Int { min: 0, max: u32::MAX as i64 }, "0", OUTGOING)
    },
    Parameter { is_hidden: true, ..idle("list-max-ziplist-entries", Form::Int { min: 0, max: i64::MAX }, "512", OLD) },
    Parameter { is_hidden: true, ..idle("list-max-ziplist-value", Form::Int { min: 0, max: i64::MAX }, "64", OLD) },
];
