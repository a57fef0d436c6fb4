//! What rows are, for a coordinator that has them locked and wants to know.

use super::Machine;
use super::participate::Stage;
use super::release::HeldReply;
use crate::command::args::Args;
use crate::command::{Call, table};
use crate::error::Stop;
use crate::tx::{NotDone, RowKeys, SeenRow, ToCoordinator};
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
        while let Some((db, key)) = row {
            let call = Call { spec, args: &name, db: *db, is_resp3: false, now: self.now, head: 0 };
            match self.shard.peek(&call, key) {
                Ok(found) => {
                    seen.push(found.map(|row| SeenRow {
                        kind: row.kind,
                        expire_ms: row.expire_ms,
                        value: row.value.to_vec(),
                    }));
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
                Err(_) => return self.retry_part(txn, Stage::Looking(rows)),
            }
        }
        let (observed, from) = (self.shard.observed(), self.parts.parts[&txn].from());
        let message = ToCoordinator::Seen(refused.map_or(Ok(seen), Err));
        self.hold_foreign(from, observed, HeldReply::Txn { txn, message });
    }
}
