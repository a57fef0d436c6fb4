//! A counted branch: a branch that says how many rows are below each of its children, in an array of their own.
//!
//! Plain counts, not running sums: a row that comes or goes changes one word of each level, while a search by rank adds
//! up words that stand side by side, several at a time.

use super::Page;

/// Counts that are added up before the sum is compared.
const STRIDE: usize = 16;

impl Page {
    /// The rows below each child of a counted branch.
    #[inline(always)]
    pub(crate) fn rows(&self) -> &[u64] {
        assert!(self.is_counted());
        let count = self.count();
        &self.words[2 * count..3 * count]
    }

    pub(crate) fn set_rows(&mut self, index: usize, rows: u64) {
        *self.rows_mut(index) = rows;
    }

    pub(crate) fn add_rows(&mut self, index: usize, rows: u64) {
        *self.rows_mut(index) += rows;
    }

    pub(crate) fn subtract_rows(&mut self, index: usize, rows: u64) {
        let place = self.rows_mut(index);
        *place = place.checked_sub(rows).expect("a child has the rows that are taken from it");
    }

    fn rows_mut(&mut self, index: usize) -> &mut u64 {
        assert!(self.is_counted() && index < self.count());
        let count = self.count();
        &mut self.words[2 * count + index]
    }

    /// Rows in this page, if it is a leaf, or below it, if it is a counted branch.
    pub(crate) fn weight(&self) -> u64 {
        if self.is_leaf() { self.count() as u64 + u64::from(self.header.beyond) } else { self.rows().iter().sum() }
    }

    /// How many entries of this leaf are bundles.
    pub(crate) fn bundles(&self) -> usize {
        self.header.bundles as usize
    }

    /// Whether some are.
    #[inline]
    pub(crate) fn has_bundles(&self) -> bool {
        self.header.bundles > 0
    }

    /// Rows of this leaf that are in front of an entry.
    #[inline]
    pub(crate) fn rows_before(&self, index: usize) -> u64 {
        if self.header.bundles == 0 {
            return index as u64;
        }
        (0..index).map(|entry| self.slot(entry).rows() as u64).sum()
    }

    /// Which entry of this leaf has row `rank` of its rows, and the row's rank in it. A rank beyond all is behind the last entry.
    #[inline]
    pub(crate) fn entry_of_rank(&self, rank: u64) -> (usize, usize) {
        if self.header.bundles == 0 {
            return (rank as usize, 0);
        }
        let mut rest = rank as usize;
        for entry in 0..self.count() {
            let rows = self.slot(entry).rows();
            if rest < rows {
                return (entry, rest);
            }
            rest -= rows;
        }
        (self.count() + rest, 0)
    }

    /// Which child has row `rank` of those below this branch, and the row's rank there. A rank beyond all is of the last
    /// child.
    #[inline]
    pub(crate) fn child_of_rank(&self, rank: u64) -> (usize, u64) {
        let rows = self.rows();
        let (mut index, mut rest) = (0, rank);
        while index + STRIDE < rows.len() {
            let sum: u64 = rows[index..index + STRIDE].iter().sum();
            if rest < sum {
                break;
            }
            rest -= sum;
            index += STRIDE;
        }
        while index + 1 < rows.len() && rest >= rows[index] {
            rest -= rows[index];
            index += 1;
        }
        (index, rest)
    }
}
