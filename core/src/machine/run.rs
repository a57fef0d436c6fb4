//! The commands of one connection. Stops 3 and 4 of 10: what command is it, and where does it run?
//!
//! Commands are taken in batches: all requests that stand in the input are decoded first, then the rows they need are
//! touched together so that their cache misses overlap, then they are run one after the other.

use super::Machine;
use super::ask::Deferred;
use super::batch::{Batch, Request};
use super::deeds::Deed;
use super::paging::Absence;
use super::place::{CROSSSLOT, Place};
use super::runs::Replying;
use crate::command::args::Args;
use crate::command::table::Entry;
use crate::command::{Call, Flags, Flow, Run, Spec, debug, help};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Notice};
use crate::limits::{OUTBOX_MESSAGES_MAX, TURN_SHARE_NS};
use crate::resp::decode::{Decoded, ProtocolError, RequestLimits};
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::session::{ReplyMode, Stall};
use crate::shard::Shard;
use cairn_storage::log::LogState;
use cairn_storage::units::Lsn;

/// What ended a batch's decoding.
enum End {
    /// Nothing: the batch is full, or the input is used up.
    More,
    Incomplete {
        need: usize,
    },
    Quoted {
        len: usize,
        args: Vec<Vec<u8>>,
    },
    Error(ProtocolError),
}

/// How one command went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Done,
    /// It was not begun: it has to wait.
    Stalled(Stall),
    /// The connection ends with it.
    Last,
}

impl Machine {
    /// Runs the requests of `input` as far as they are complete and may run. Answers the bytes that are dealt with, and
    /// if a request behind them is incomplete, how many bytes it has at least, 0 if that is not known.
    pub(super) fn run(&mut self, conn: ConnId, input: &[u8]) -> (usize, Option<usize>) {
        let mut batch = std::mem::take(&mut self.batch);
        let (mut at, mut need) = (0, None);
        self.share_ends_ns = 0;
        while at < input.len() && self.session(conn).is_runnable() {
            let session = self.session(conn);
            if !session.client.is_authenticated && session.output.has_barrier() {
                // Whether the next request is too long depends on whether AUTH succeeds.
                self.stall(conn, Stall::Barrier);
                break;
            }
            let rest = &input[at..];
            let (decoded, end) = self.decode(conn, rest, &mut batch);
            let taken = self.execute_batch(conn, rest, &batch, decoded);
            at += taken;
            if taken < decoded {
                // A stalled request is decoded again when it may run.
                self.session_mut(conn).decoder = Default::default();
                break;
            }
            match end {
                End::More => {}
                End::Incomplete { need: known } => {
                    need = Some(known);
                    break;
                }
                End::Quoted { len, args } if self.session(conn).is_runnable() => {
                    if !self.run_quoted(conn, &args) {
                        break;
                    }
                    at += len;
                }
                End::Quoted { .. } => break,
                End::Error(error) => {
                    self.refuse_protocol(conn, error);
                    at = input.len();
                }
            }
        }
        self.batch = batch;
        self.settle_counts();
        (at, need)
    }

    /// Runs an inline request that had to be unquoted. Whether it was run.
    fn run_quoted(&mut self, conn: ConnId, args: &[Vec<u8>]) -> bool {
        let (mut bytes, mut batch) = (Vec::new(), Batch::default());
        for arg in args {
            batch.ranges.push((bytes.len() as u32, (bytes.len() + arg.len()) as u32));
            bytes.extend_from_slice(arg);
        }
        let ranges = (0, batch.ranges.len() as u32);
        batch.push(&bytes, 0, ranges, self.shard.hash_seed());
        let len = bytes.len().max(1);
        self.execute_batch(conn, &bytes, &batch, len) == len
    }

    /// Decodes up to a batch of requests. Answers the bytes they take and why there are no more.
    #[inline]
    fn decode(&mut self, conn: ConnId, input: &[u8], batch: &mut Batch) -> (usize, End) {
        batch.clear();
        let limits = RequestLimits {
            bulk_bytes_max: self.settings.proto_max_bulk_len,
            is_authenticated: self.session(conn).client.is_authenticated,
        };
        let hash_seed = self.shard.hash_seed();
        let batch_max = self.batch_max(conn);
        let session = self.session_mut(conn);
        let mut at = 0;
        // Whoever has to say who they are is decoded step by step: AUTH changes the limits.
        let requests_max = if limits.is_authenticated { batch_max } else { 1 };
        while at < input.len() && batch.requests.len() < requests_max {
            let first = batch.ranges.len();
            match session.decoder.decode(&input[at..], &mut batch.ranges, limits) {
                Decoded::Request { len } => {
                    if batch.ranges.len() > first {
                        batch.push(&input[at..], at, (first as u32, batch.ranges.len() as u32), hash_seed);
                    }
                    at += len;
                }
                Decoded::Incomplete { need } => return (at, End::Incomplete { need }),
                Decoded::Quoted { len, args } => return (at, End::Quoted { len, args }),
                Decoded::Error(error) => return (at, End::Error(error)),
            }
        }
        (at, End::More)
    }

    /// Executes the requests of a batch in order. Answers the bytes that are dealt with: `decoded`, unless one stalls.
    fn execute_batch(&mut self, conn: ConnId, input: &[u8], batch: &Batch, decoded: usize) -> usize {
        if batch.requests.is_empty() {
            return decoded;
        }
        self.begin_ahead();
        if batch.requests.len() > 1 {
            self.touch(conn, input, batch);
        }
        let session = self.session_mut(conn);
        session.is_running = true;
        let mut out = std::mem::take(&mut session.output.out);
        let mut held = Lsn(0);
        let mut taken = decoded;
        let mut clock_ns = (self.identity.clock_ns)();
        if self.share_ends_ns == 0 {
            self.share_ends_ns = clock_ns + TURN_SHARE_NS;
        }
        // The next request, and the first one that may be done together with those behind it.
        let (mut at, mut together) = (0, 0);
        while let Some(request) = batch.requests.get(at) {
            if clock_ns > self.share_ends_ns {
                self.stall(conn, Stall::Share);
                taken = request.start;
                break;
            }
            if at >= together
                && let Some(kind) = batch.together(at)
            {
                let mut to = Replying { out: &mut out, held: &mut held, clock_ns: &mut clock_ns };
                match self.run_together(conn, input, (batch, at), kind, &mut to) {
                    Ok(done) => {
                        at += done;
                        continue;
                    }
                    Err(left) => together = at + left,
                }
            }
            at += 1;
            let args = batch.args(input, request);
            let ran = self.execute(conn, request, &args, &mut out, &mut held, &mut clock_ns);
            match ran {
                Ran::Done if !self.session(conn).is_closing => {}
                Ran::Done | Ran::Last => {
                    self.session_mut(conn).is_closing = true;
                    break;
                }
                Ran::Stalled(stall) => {
                    self.stall(conn, stall);
                    taken = request.start;
                    break;
                }
            }
        }
        let session = self.session_mut(conn);
        session.end_running(out);
        if held > Lsn(0) {
            self.hold(conn, held);
        }
        taken
    }

    /// Executes one request. `held` collects the LSN that the batch's replies wait for; `clock_ns` is when the command
    /// before ended.
    #[inline]
    fn execute(
        &mut self,
        conn: ConnId,
        request: &Request,
        args: &Args<'_>,
        out: &mut Replies,
        held: &mut Lsn,
        clock_ns: &mut u64,
    ) -> Ran {
        let entry = match self.admit(conn, request, args, out.weight()) {
            Ok(entry) => entry,
            Err(Stay::Wait(stall)) => return Ran::Stalled(stall),
            Err(Stay::Refuse(refusal)) => {
                let refusal = self.spoil(conn, request.entry, refusal);
                let ran = self.refuse(conn, args, &refusal, out);
                if let Some(entry) = request.entry {
                    self.stats.on_rejected(entry.id);
                }
                return ran;
            }
        };
        let Entry { id, spec, .. } = entry;
        let mark = out.len();
        if self.session(conn).client.multi.is_some() && !spec.flags.has(Flags::UNQUEUED) {
            return match self.queue(conn, entry, request.head, args, out) {
                Ok(()) => Ran::Done,
                Err(refusal) => self.refuse(conn, args, &refusal, out),
            };
        }
        let client = &mut self.session_mut(conn).client;
        client.commands += 1;
        client.last_command = spec.name;
        let mode_before = client.reply_mode;
        let call = Call { spec, args, db: client.db, is_resp3: client.is_resp3, now: self.now, head: request.head };
        self.hot.is_silent = matches!(mode_before, ReplyMode::Off | ReplyMode::Skip);
        self.shard.begin();
        let (shown, announced) = (self.shown_len(), self.shard.announced.mark());
        let is_tracked = self.begin_tracked(conn, &call);
        let flow = match self.dispatch(conn, id, &call, mark, out) {
            Ok(flow) => flow,
            Err(stall) => return Ran::Stalled(stall),
        };
        let now_ns = (self.identity.clock_ns)();
        let ns = now_ns.saturating_sub(*clock_ns) + std::mem::take(&mut self.slept_ns);
        *clock_ns = now_ns;
        self.count_dispatched(id, ns);
        if flow != Flow::Later {
            self.note_if_slow(conn, ns, &call);
        }
        if self.is_monitored() {
            self.show_command(conn, &call, shown);
        }
        // Pushes are no replies.
        let silent_from = if spec.flags.has(Flags::LISTENS) { out.len() } else { mark };
        self.silence(conn, mode_before, silent_from, out);
        let lsn = self.shard.observed();
        if lsn > self.shard.stable() && out.len() > mark {
            self.gate(conn, id, mark, lsn, out, held);
        }
        if !self.shard.announced.is_empty() {
            self.announce_of(conn, lsn, announced, out);
        }
        if is_tracked {
            self.end_tracked(conn, spec);
        }
        if self.shard.waits.has_changed() {
            self.serve_waiting();
        }
        if flow == Flow::Close { Ran::Last } else { Ran::Done }
    }

    /// Runs a command where it belongs. A stall: it was not begun.
    #[inline(always)]
    fn dispatch(
        &mut self,
        conn: ConnId,
        id: u16,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<Flow, Stall> {
        if self.session(conn).client.open.is_some()
            && let Some(ran) = self.run_in_open(conn, call, out)
        {
            return match ran {
                Ok(flow) => Ok(flow),
                Err(stop) if stop.is_passing() => Err(self.put_back(conn, stop, call)),
                Err(stop) => Ok(self.finish_row(id, Err(stop), mark, call.is_resp3, out)),
            };
        }
        if call.spec.flags.has(Flags::BLOCKING)
            && let Run::Row(run) = call.spec.run
            && let Some(flow) = self.run_blocking(conn, (id, run), call, mark, out)?
        {
            return Ok(flow);
        }
        let ran = match call.spec.run {
            Run::Row(run) => match self.place(call) {
                place if self.is_behind_others(conn, place) => {
                    self.session_mut(conn).client.commands -= 1;
                    return Err(Stall::Holes);
                }
                Place::Here if self.is_any_split() => self.run_beside_splits(conn, run, call, mark, out),
                Place::Here if self.is_locked(call) => Err(Stop::Locked),
                Place::Here => self.run_short(run, call, mark, out),
                Place::There(_) if self.is_sub_row(conn, call) => self.run_at_sub_row(conn, run, call, mark, out),
                Place::There(shard) => return Ok(self.forward(conn, call, shard, out)),
                Place::Spread => return Ok(self.spread(conn, call, out)),
                Place::Whole => self.begin_whole(conn, call, out),
                Place::Nowhere => Err(Refusal::text(CROSSSLOT).into()),
            },
            Run::Server(run) => match run(self, conn, call, &mut Reply::new(out, call.is_resp3)) {
                Err(stop) if stop.is_passing() => {
                    // A transaction that runs again looks at them again.
                    self.session_mut(conn).held.extend(out.blobs_from(mark).cloned());
                    out.truncate(mark);
                    Err(stop)
                }
                ran => return Ok(self.finish_server(conn, id, ran, call, mark, out)),
            },
            Run::Databases { .. } => self.begin_databases(conn, call, mark, out),
            Run::Container => unreachable!("a container's subcommand was looked up"),
        };
        if ran.is_ok() {
            return Ok(Flow::Done);
        }
        match ran {
            Err(Stop::Long) => Ok(self.begin_slices_here(conn, call, out)),
            Err(stop) if stop.is_passing() => Err(self.put_back(conn, stop, call)),
            ran => Ok(self.finish_row(id, ran, mark, call.is_resp3, out)),
        }
    }

    /// Runs a command on rows of this shard, as often as what it misses is here by then.
    #[inline]
    pub(super) fn run_row(
        &mut self,
        run: impl Fn(&mut Shard, &Call<'_>, &mut Reply<'_>) -> Result<(), Stop>,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Result<(), Stop> {
        self.note_hot(call)?;
        let announced = self.shard.announced.mark();
        let changes = self.shard.engine().group_changes();
        loop {
            let counts = self.shard.read_counts();
            let mut ran = self.prepare(call);
            if ran.is_ok() {
                ran = run(&mut self.shard, call, &mut Reply::new(out, call.is_resp3));
            }
            if ran.is_ok() {
                // Not `ran`: to move what was just written in part has to wait until all writes before it are in the cache.
                return Ok(());
            }
            if ran.as_ref().is_err_and(crate::shard::is_stuck) {
                self.is_unusable = true;
                self.note_deed(Deed::Unusable);
            }
            let missing = match ran {
                Err(Stop::Missing(missing)) => Some(missing),
                // It may have begun its reply.
                Err(Stop::Crowded | Stop::Long) => None,
                ran => return ran,
            };
            out.truncate(mark);
            self.shard.announced.truncate(announced);
            self.shard.restore_counts(counts);
            let Some(missing) = missing else { return ran };
            match self.fetch_for(missing, call) {
                // It has begun to change what it would look at: that is taken back with all of its group, which begins again.
                Absence::Over if self.shard.engine().group_changes() != changes => return Err(Stop::Crowded),
                Absence::Over => {}
                Absence::Wait(missing) => return Err(Stop::Missing(missing)),
                Absence::Crowded => return Err(Stop::Crowded),
                Absence::Unusable(refusal) => {
                    self.is_unusable = true;
                    self.note_deed(Deed::Unusable);
                    return Err(refusal.into());
                }
            }
        }
    }

    pub(super) fn finish_row(
        &mut self,
        id: u16,
        ran: Result<(), Stop>,
        mark: usize,
        is_resp3: bool,
        out: &mut Replies,
    ) -> Flow {
        if let Err(stop) = ran {
            out.truncate(mark);
            let refusal = stop.into_refusal();
            self.count_error(Some(id), &refusal);
            Reply::new(out, is_resp3).refusal(&refusal);
        }
        Flow::Done
    }

    pub(super) fn finish_server(
        &mut self,
        conn: ConnId,
        id: u16,
        ran: Result<Flow, Stop>,
        call: &Call<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Flow {
        match ran {
            Ok(Flow::Later) => {
                self.begin_deferred(conn, call, out);
                if self.session(conn).is_closing { Flow::Close } else { Flow::Done }
            }
            Ok(flow) => flow,
            Err(stop) => {
                self.pending.deferred = None;
                self.finish_row(id, Err(stop), mark, call.is_resp3, out)
            }
        }
    }

    /// May the request run now, behind so many bytes of replies? Finds its command on the way.
    #[inline]
    pub(super) fn admit(
        &mut self,
        conn: ConnId,
        request: &Request,
        args: &Args<'_>,
        out_bytes: usize,
    ) -> Result<Entry, Stay> {
        // The output is with the caller; in the session are only the replies of other shards.
        let session = self.session(conn);
        if out_bytes + session.output.unsent_bytes() > session.output_bytes_max() {
            return Err(Stay::Wait(Stall::Output));
        }
        // The answer that is still to come may change what the next command may do: AUTH, HELLO.
        if session.output.has_barrier() {
            return Err(Stay::Wait(Stall::Barrier));
        }
        let Some(entry) = request.entry else { return Err(self.unknown(args)) };
        let spec = entry.spec;
        if !spec.takes(args.len()) {
            return Err(Refusal::Arity(spec.name.into()).into());
        }
        if matches!(spec.run, Run::Container) {
            return Err(help::unknown_subcommand(spec, args).into());
        }
        if !session.client.is_authenticated && !spec.flags.has(Flags::NO_AUTH) {
            return Err(Refusal::text("NOAUTH Authentication required.").into());
        }
        if session.client.is_restricted {
            self.check_access(conn, entry, args)?;
        }
        let session = self.session(conn);
        let is_on_rows = matches!(spec.run, Run::Row(_));
        if !is_on_rows {
            debug::check_guard(spec, self.settings.enable_debug, &session.client.peer)?;
        }
        if session.client.only_listens() && !listener_may(spec) {
            return Err(crate::command::pubsub::only_listens(spec).into());
        }
        if !is_on_rows && session.output.has_open_holes() && !self.passes_holes(conn, spec) {
            return Err(Stay::Wait(Stall::Holes));
        }
        let is_write = spec.flags.has(Flags::WRITE)
            || session.client.multi.as_ref().is_some_and(|multi| multi.writes > 0 && spec.name == "exec")
            || session.client.open.as_ref().is_some_and(|open| open.bytes > 0 && spec.name == "commit");
        if let Some(pause) = self.pause
            && (is_write
                || spec.flags.has(Flags::MAY_WRITE) && !self.is_said_to_look(spec, args)
                || spec.flags.has(Flags::MAY_REPLICATE)
                || !pause.writes_only)
        {
            return Err(Stay::Wait(Stall::Paused));
        }
        if self.is_draining() {
            return Err(Stay::Wait(Stall::Draining));
        }
        if self.looks_for_splits() {
            return Err(Stay::Wait(Stall::Locked));
        }
        if is_write {
            self.admit_write()?;
        }
        if self.identity.shards > 1 {
            let is_flooded = self.outbox.iter().any(|parcel| parcel.messages.len() > OUTBOX_MESSAGES_MAX);
            if is_flooded || self.session(conn).output.has_asked_enough() {
                return Err(Stay::Wait(Stall::Outbox));
            }
        }
        Ok(entry)
    }

    #[inline]
    pub(super) fn admit_write(&self) -> Result<(), Stay> {
        let log = self.shard.engine().log();
        if !log.accepts_writes() {
            return Err(match log.state() {
                LogState::Failed(fault) => super::release::log_refusal(fault.result.err()).into(),
                LogState::Full { errno } => super::release::log_refusal(Some(errno)).into(),
                LogState::Open => Stay::Wait(Stall::LogRoom),
            });
        }
        if log.has_room() { Ok(()) } else { Err(Stay::Wait(Stall::LogRoom)) }
    }

    #[cold]
    fn unknown(&self, args: &Args<'_>) -> Stay {
        const SHOWN_BYTES_MAX: usize = 128;
        let cut = |arg: &[u8], len: usize| {
            let end = memchr::memchr(0, arg).unwrap_or(arg.len()).min(len);
            String::from_utf8_lossy(&arg[..end]).into_owned()
        };
        let mut shown = String::new();
        for arg in args.skip(1).iter() {
            if shown.len() >= SHOWN_BYTES_MAX {
                break;
            }
            shown += &format!("'{}' ", cut(arg, SHOWN_BYTES_MAX - shown.len()));
        }
        let name = cut(&args[0], SHOWN_BYTES_MAX);
        Refusal::text(format!("ERR unknown command '{name}', with args beginning with: {shown}")).into()
    }

    #[cold]
    fn refuse(&mut self, conn: ConnId, args: &Args<'_>, refusal: &Refusal, out: &mut Replies) -> Ran {
        if args.is(0, "post") || args.is(0, "host:") {
            let addr = self.session(conn).client.peer.addr.clone();
            self.notice(Notice::CrossProtocol { addr });
            return Ran::Last;
        }
        self.count_error(None, refusal);
        let mark = out.len();
        let mode = self.session(conn).client.reply_mode;
        Reply::new(out, false).refusal(refusal);
        self.silence(conn, mode, mark, out);
        Ran::Done
    }

    #[inline]
    pub(super) fn note_if_slow(&mut self, conn: ConnId, ns: u64, call: &Call<'_>) {
        let threshold_us = self.settings.slowlog_log_slower_than_us;
        if threshold_us >= 0 && ns / 1000 >= threshold_us as u64 && !call.spec.flags.has(Flags::SKIP_SLOWLOG) {
            let unix_s = self.now.unix_us / 1_000_000;
            let len_max = self.settings.slowlog_max_len;
            let client = &self.sessions[conn.0 as usize].as_ref().expect("it runs a command").client;
            self.slowlog.record(len_max, unix_s, ns / 1000, call.args, &client.peer.addr, &client.name);
        }
    }

    /// An error is answered, by the command `id` if it had begun.
    pub(super) fn count_error(&mut self, id: Option<u16>, refusal: &Refusal) {
        let line = refusal.line();
        self.stats.on_error(line.split(' ').next().unwrap_or("ERR"));
        if let Some(id) = id {
            self.stats.on_failed(id);
        }
    }

    fn refuse_protocol(&mut self, conn: ConnId, error: ProtocolError) {
        let refusal = Refusal::text(format!("ERR Protocol error: {error}"));
        self.count_error(None, &refusal);
        let session = self.session_mut(conn);
        Reply::new(&mut session.output.out, false).refusal(&refusal);
        session.is_closing = true;
    }

    pub(super) fn begin_deferred(&mut self, conn: ConnId, call: &Call<'_>, out: &mut Replies) {
        let deferred: Deferred = self.pending.deferred.take().expect("a command that finishes later has said how");
        self.start_deferred(conn, deferred, call, out);
    }
}

/// What one may ask for who has subscribed to something in RESP2.
#[cold]
fn listener_may(spec: &Spec) -> bool {
    spec.flags.has(Flags::LISTENS) || matches!(spec.name, "ping" | "quit" | "reset")
}

/// Why a request does not run now.
pub(super) enum Stay {
    Wait(Stall),
    Refuse(Refusal),
}

impl From<Refusal> for Stay {
    fn from(refusal: Refusal) -> Stay {
        Stay::Refuse(refusal)
    }
}
