//! IDEMPOTENT: what it is before is done once. How is in `machine/idempotent.rs`.

use super::script;
use super::{Call, Flags, Flow, Run, Spec};
use crate::command::table::{self, Entry};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::{IDEMPOTENT_KEY_BYTES_MAX, IDEMPOTENT_MS_MAX};
use crate::machine::{Machine, Token, not_idempotent};
use crate::resp::encode::Reply;
use crate::tx::Multi;

pub const SPECS: &[Spec] = &[Spec {
    name: "idempotent",
    arity: -4,
    flags: Flags::NOSCRIPT.and(Flags::NO_MULTI).and(Flags::MAY_WRITE).and(Flags::MOVABLEKEYS),
    run: Run::Server(idempotent),
    categories: "transaction",
    group: "transactions",
    since: "7.2.0",
    complexity: "Depends on the command.",
    summary: "Runs a command, or a transaction, once: who asks again with the same key gets the reply of the first time.",
    synopsis: "idempotency-key milliseconds command [arg [arg ...]]",
    ..Spec::DEFAULT
}];

/// Arguments in front of the command's own.
const OWN_ARGS: usize = 3;

fn idempotent(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if machine.client(conn).open.is_some() {
        return Err(Refusal::text("ERR 'idempotent' is not allowed between BEGIN and COMMIT").into());
    }
    let token = token(call)?;
    let args = call.args.skip(OWN_ARGS);
    let name = &args[0];
    let Some(entry) = table::entry(name) else {
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
        return Err(Refusal::text(format!("ERR unknown command '{name}' behind IDEMPOTENT")).into());
    };
    let Entry { spec, .. } = entry;
    if !spec.takes(args.len()) {
        return Err(Refusal::Arity(spec.name.into()).into());
    }
    match (spec.run, spec.name) {
        (_, "multi") => multi(machine, conn, token, call, reply),
        _ if script::is_script(spec) => {
            let own = Call { spec, args: &args, ..*call };
            let code = script::code_of(machine, &own)?;
            machine.run_script_once(conn, token, &script::task_of(&own, &code)?, args.iter().collect(), reply)
        }
        (Run::Row(_), _) => {
            let mut commands = Multi::default();
            let head = args.get(spec.keys.first).map_or(0, |key| machine.shard.head(key));
            commands.push(entry, call.db, head, args.iter());
            machine.run_once(conn, token, commands, call, reply)
        }
        _ => Err(not_idempotent(spec).into()),
    }
}

fn token(call: &Call<'_>) -> Result<Token, Refusal> {
    let key = &call.args[1];
    if key.is_empty() || key.len() > IDEMPOTENT_KEY_BYTES_MAX {
        return Err(Refusal::text(format!("ERR an idempotency key has 1 to {IDEMPOTENT_KEY_BYTES_MAX} bytes")));
    }
    let ms = call.args.integer(2)?;
    if !(1..=IDEMPOTENT_MS_MAX).contains(&ms) {
        return Err(Refusal::text(format!("ERR an idempotency key is kept for 1 to {IDEMPOTENT_MS_MAX} milliseconds")));
    }
    Ok(Token { key: key.to_vec(), ttl_ms: ms as u64 })
}

/// The transaction that begins here is done once.
fn multi(
    machine: &mut Machine,
    conn: ConnId,
    token: Token,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
) -> Result<Flow, Stop> {
    let is_asked = call.args.len() == OWN_ARGS + 2 && call.args.is(OWN_ARGS + 1, "rollback");
    if call.args.len() > OWN_ARGS + 1 && !is_asked {
        return Err(Refusal::Arity("multi".into()).into());
    }
    let rolls_back = is_asked || machine.client(conn).rolls_back;
    machine.begin_multi(conn, rolls_back, reply.out);
    machine.client_mut(conn).multi.as_mut().expect("it has just begun").token = Some(token);
    reply.ok();
    Ok(Flow::Done)
}
