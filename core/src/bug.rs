//! Known bugs that can be planted, so that the simulator can show that they would be found.
//!
//! They are compiled in always and never on in a server: no configuration leads here.

cairn_storage::bugs! {
    /// A bug that a machine can be told to have.
    ReplyUnstable "reply-unstable" "A transaction is answered before the parts of all its shards are stable",
    ForeignUnstable "foreign-unstable" "A transaction for a connection of another core is answered before it is stable",
    PartForgotten "part-forgotten" "Another shard's part in a transaction is answered and not done",
    RenameHalf "rename-half" "RENAME to another shard removes its source and gives nothing to its target",
    UnlockUndecided "unlock-undecided" "A shard gives the locks of its part back as soon as that has run",
    CountForgotten "count-forgotten" "Of increments that are done together the last one is answered and not done",
    RunForgotten "run-forgotten" "Of other commands that are done together the last one is answered, and what is done is the one before again",
    SplitForgotten "split-forgotten" "A start does not look for counters that were split",
    SplitUnrecalled "split-unrecalled" "A shard goes on adding to a sub-row that is being merged",
    SumStale "sum-stale" "What was seen of sub-rows is taken for what they are later",
    CutTorn "cut-torn" "A snapshot has what a transaction over several shards has done on some of them before it is decided",
    SurveyNow "survey-now" "What a snapshot is told of a whole database is what is there now",
    FlushAlone "flush-alone" "What is done to whole databases is no part of its transaction",
    FlushUnseen "flush-unseen" "A transaction that is open does not see that it has emptied a database, or had two change places",
    StepTimes "step-times" "Each step of a program or a script goes by the clock of its shard, and what it has seen may be over by its end",
    RecordUnwritten "record-unwritten" "What IDEMPOTENT has answered is not kept",
    BegunKept "begun-kept" "A part that ends does not give up the collections that it has begun",
    LooksUnlocked "looks-unlocked" "What an open transaction, or a script over several shards, only looks at is not locked",
    OfferTwice "offer-twice" "A client that waits for several keys accepts what each of their shards has for it",
    ServeGone "serve-gone" "A shard serves a client that waits no more with what it was offered",
    NextForgotten "next-forgotten" "Who comes next in a queue is not offered what another one has declined",
    WaitsAgain "waits-again" "Who has waited to move something between two shards, and has, waits again before it is answered",
    IdByClock "id-by-clock" "XADD answers the id that the clock gives, and writes the one behind the last",
    ReadAlone "read-alone" "Of those who wait in XREAD the first one is told what has come",
    GiveTwice "give-twice" "What a consumer is given stays new for its group if it would have waited",
    ClaimKept "claim-kept" "Who claims something is given it, and it stays who had it",
    AckUnwritten "ack-unwritten" "XACK of what was given more than once answers and changes nothing",
    FieldServed "field-served" "A field of a hash is there past its time, as long as it is not removed",
    WatchDeaf "watch-deaf" "EXEC does not ask another core whether what is watched there was changed",
}
