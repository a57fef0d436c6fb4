//! What happened in a run, in numbers.

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub commands: u64,
    pub crashes: u64,
    /// Crashes that came after an orderly stop.
    pub shutdowns: u64,
    pub recoveries_cut: u64,
    /// Shards that came back with some of the log to be redone.
    pub redos: u64,
    /// Collections that shards came back with; of these, those that are too large for their rows.
    pub collections: u64,
    pub large: u64,
    pub writes_failed: u64,
    pub space_lost: u64,
    pub harms: u64,
    /// Bits of logs that went wrong while a machine ran; of these, those that the scrub found, and those that no start needed
    /// then.
    pub rots: u64,
    pub rots_found: u64,
    pub rots_mended: u64,
    /// Pages that went wrong while a machine ran, and times that redo could not go on for that.
    pub pages_rotten: u64,
    pub redos_blocked: u64,
    /// Turns that ended with more records waiting than a log takes.
    pub floods: u64,
    pub checkpoints: u64,
    pub page_ops: u64,
    pub page_reads: u64,
    /// Collections that transactions over several shards have begun to store piece by piece.
    pub begun: u64,
    /// Connections that went to another core.
    pub handovers: u64,
    pub page_writes_failed: u64,
    /// Flipped bits of page files that were met and reported.
    pub pages_reported: u64,
    /// Commands that were refused because a page could not be had.
    pub unusable: u64,
    /// Commands that were refused because memory was full of what the page file did not take.
    pub stuck: u64,
    /// SAVEs that were answered with OK, and that were refused.
    pub saves: u64,
    pub saves_failed: u64,
    /// LASTSAVEs when every shard had a checkpoint.
    pub lastsaves: u64,
    pub events: u64,
    /// Tells whether two runs were the same.
    pub hash: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.commands += other.commands;
        self.crashes += other.crashes;
        self.shutdowns += other.shutdowns;
        self.recoveries_cut += other.recoveries_cut;
        self.redos += other.redos;
        self.collections += other.collections;
        self.large += other.large;
        self.writes_failed += other.writes_failed;
        self.space_lost += other.space_lost;
        self.harms += other.harms;
        self.rots += other.rots;
        self.rots_found += other.rots_found;
        self.rots_mended += other.rots_mended;
        self.pages_rotten += other.pages_rotten;
        self.redos_blocked += other.redos_blocked;
        self.floods += other.floods;
        self.checkpoints += other.checkpoints;
        self.page_ops += other.page_ops;
        self.page_reads += other.page_reads;
        self.begun += other.begun;
        self.handovers += other.handovers;
        self.page_writes_failed += other.page_writes_failed;
        self.pages_reported += other.pages_reported;
        self.unusable += other.unusable;
        self.stuck += other.stuck;
        self.saves += other.saves;
        self.saves_failed += other.saves_failed;
        self.lastsaves += other.lastsaves;
        self.events += other.events;
        // Of all runs, in their order.
        self.hash = self.hash.rotate_left(1) ^ other.hash;
    }
}
