//! What rows are, for a coordinator that has them locked and wants to know.

use super::Machine;
use super::part::Stage;
use super::release::HeldReply;
use crate::collection::dump;
use crate::command::args::Args;
use crate::command::{Call, table};
use crate::error::Stop;
use crate::rdb::Version;
use crate::shard::{Kind, Shard};
use crate::tx::{NotDone, RowKeys, SeenRow, ToCoordinator, Told};
use cairn_storage::units::TxnId;

impl Machine {
    /// Tells the coordinator what rows are.
    pub(super) fn look_at(&mut self, txn: TxnId, rows: RowKeys) {
        let (name, spec) = (Args::new(b"exec", &[(0, 4)]), table::find(b"exec").expect("it is in the table"));
        self.shard.begin();
        let mut seen = Vec::new();
        let mut refused = None;
        let mut next = rows.iter();
        let mut row = next.next();
        while let Some((db, key, told)) = row {
            let call = Call { spec, args: &name, db: *db, is_resp3: false, now: self.now, head: 0 };
            match seen_row(&self.shard, &call, key, *told) {
                Ok(found) => {
                    seen.push(found);
                    row = next.next();
                }
                Err(Stop::Missing(missing)) => match self.fetch_or_stop(missing) {
                    Ok(()) => {}
                    Err(Stop::Refuse(refusal)) => {
                        refused = Some(NotDone::of_commands(&refusal));
                        break;
                    }
                    Err(_) => return self.retry_part(txn, Stage::Looking(rows)),
                },
                Err(Stop::Refuse(refusal)) => {
                    refused = Some(NotDone::of_commands(&refusal));
                    break;
                }
                Err(_) => return self.retry_part(txn, Stage::Looking(rows)),
            }
        }
        let (observed, from) = (self.shard.observed(), self.parts.parts[&txn].from);
        let message = ToCoordinator::Seen(refused.map_or(Ok(seen), Err));
        self.hold_foreign(from, observed, HeldReply::Txn { txn, message });
    }
}

fn seen_row(shard: &Shard, call: &Call<'_>, key: &[u8], told: Told) -> Result<Option<SeenRow>, Stop> {
    let row = if told == Told::Nothing { shard.peek_bare(call, key)? } else { shard.peek(call, key)? };
    let Some(row) = row else { return Ok(None) };
    let is_large = told == Told::Payload && row.kind != Kind::String && shard.is_large(call, &row)?;
    let value = match told {
        _ if is_large => Vec::new(),
        Told::String | Told::Payload if row.kind == Kind::String => row.value.to_vec(),
        Told::Payload => dump::dump(shard, call, &row, Version::Eleven)?,
        Told::Nothing | Told::String => Vec::new(),
    };
    Ok(Some(SeenRow { kind: row.kind, expire_ms: row.expire_ms, value, is_large }))
}
