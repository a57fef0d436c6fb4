//! What is behind something that cannot be had: for messages.

use super::Engine;
use crate::check::TreeName;
use crate::error::Missing;
use crate::tree::HeadRange;

impl Engine {
    /// The tree that a page is of which cannot be had, and the heads of the keys that it stands for; `None` if that is not known.
    pub fn locate(&self, missing: Missing) -> Option<(TreeName, HeadRange)> {
        let (Missing::Page(page) | Missing::Astray(page)) = missing else { return None };
        let rows = self.rows.iter().zip((0..).map(TreeName::Rows));
        let mut trees = rows.chain([(&self.deadlines, TreeName::Deadlines)]);
        trees.find_map(|(tree, name)| Some((name, tree.locate(&self.pool, page)?)))
    }
}
