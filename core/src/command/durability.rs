//! CLIENT DURABILITY: what the connection's replies wait for. The gate looks at it in `machine/run.rs` and `machine/release.rs`.

use super::{Call, Flow};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;
use crate::session::Durability;

const NO_STANDBYS: &str = "ERR no standbys are configured, so nothing can wait for them: 'local' is the most there is";

/// CLIENT DURABILITY [MEMORY | LOCAL | STANDBY].
pub(super) fn durability(
    machine: &mut Machine,
    conn: ConnId,
    call: &Call<'_>,
    reply: &mut Reply<'_>,
) -> Result<Flow, Stop> {
    let wanted = match call.args.len() {
        2 => {
            reply.bulk(machine.client(conn).durability.name().as_bytes());
            return Ok(Flow::Done);
        }
        3 if call.args.is(2, "memory") => Durability::Memory,
        3 if call.args.is(2, "local") => Durability::Local,
        3 if call.args.is(2, "standby") => return Err(Refusal::text(NO_STANDBYS).into()),
        3 => return Err(Refusal::Syntax.into()),
        _ => return Err(call.arity()),
    };
    machine.client_mut(conn).durability = wanted;
    reply.ok();
    Ok(Flow::Done)
}
