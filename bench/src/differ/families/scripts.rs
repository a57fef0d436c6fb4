//! Scripts: what they are given, what they answer, and what they change before they fail. That their language is Redis's is shown by
//! `bench/scripts_differ.py`.

use super::{Family, same};

pub const FAMILY: Family = Family {
    name: "scripts",
    prefix: "s",
    rows: &[
        same("EVAL 'return redis.call(\"SET\",KEYS[1],ARGV[1])' 1 {key} {value}").often(2),
        same("EVAL 'return redis.call(\"GET\",KEYS[1])' 1 {key}").often(2),
        same("EVAL_RO 'return redis.call(\"GET\",KEYS[1])' 1 {key}"),
        same("EVAL_RO 'return redis.call(\"SET\",KEYS[1],1)' 1 {key}"),
        same("EVAL 'return {KEYS,ARGV,#ARGV[1]}' 2 {key} {key} {value} {small}"),
        same("EVAL 'local a=redis.call(\"INCRBY\",KEYS[1],ARGV[1]) return {a,a+1,tostring(a)}' 1 {key} {int}"),
        same("EVAL 'redis.call(\"APPEND\",KEYS[1],ARGV[1]) return redis.pcall(\"INCR\",KEYS[1])' 1 {key} {small}"),
        same("EVAL 'redis.call(\"SET\",KEYS[1],ARGV[1]) error(\"no\")' 1 {key} {small}"),
        same("EVAL 'redis.call(\"SET\",KEYS[1],ARGV[1]) return redis.call(\"INCR\",KEYS[2])' 2 {key} {key} {small}"),
        same("EVAL 'return redis.call(\"MGET\",unpack(KEYS))' 3 {key} {key} {key}"),
        same("EVAL 'local n=0 for i=1,#KEYS do n=n+redis.call(\"EXISTS\",KEYS[i]) end return n' 3 {key} {key} {key}"),
        same("EVAL 'return tonumber(ARGV[1])' 0 {float}"),
        same("EVAL 'return {1,2.5,false,true,\"x\",{ok=\"k\"},nil,3}' 0"),
        same("EVAL 'redis.setresp(3) return redis.call(\"GET\",KEYS[1])' 1 {key}"),
        same("EVAL 'return redis.error_reply(ARGV[1])' 0 {letters}"),
        same("EVAL 'return redis.status_reply(ARGV[1])' 0 {letters}"),
        same("EVAL 'return redis.sha1hex(ARGV[1])' 0 {value}"),
        same("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db {digit} {key}+"),
        same("EVAL 'return 1' {odd} {key}"),
        same("SCRIPT LOAD 'return redis.call(\"GET\",KEYS[1])'"),
        same("EVALSHA 4e6d8fc8bb01276962cce5371fa795a7763657ae 1 {key}"),
        same("SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db 4e6d8fc8bb01276962cce5371fa795a7763657ae"),
        same("GET {key}").often(3),
    ],
};
