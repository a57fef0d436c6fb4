//! Work of programs that takes more than one turn: it is done in pieces of so many items, and others have their turn between them.
//!
//! What a piece has come to is kept ([`Steps::keep`]). So a program goes on where it stopped, for whatever reason: a page, another shard's answer, its
//! turn's end. The rows that it looks at are locked meanwhile, so all is of one moment.

pub mod bag;
pub mod made;
pub mod stock;

use super::program::Steps;
use crate::error::Stop;

/// A program's work.
pub trait Long: Send + Sized + 'static {
    /// Does a piece of about so many items. Whether all is done; asked again, that is still so. Where a step stops it is called again, with what it has come
    /// to by then, and must take that step first: so what a step was answered is noted before the next one is taken.
    fn piece(&mut self, steps: &mut dyn Steps, items: u64) -> Result<bool, Stop>;
}

/// Begins work, or goes on with what was kept, until it is done.
pub fn work<L: Long>(steps: &mut dyn Steps, begin: impl FnOnce() -> Result<L, Stop>) -> Result<Box<L>, Stop> {
    let mut work = match steps.kept() {
        Some(kept) => kept.downcast::<L>().expect("a command has one kind of work"),
        None => Box::new(begin()?),
    };
    let items = steps.items();
    loop {
        match work.piece(steps, items) {
            Ok(true) => return Ok(work),
            Ok(false) if steps.rests() => {
                steps.keep(work, true);
                return Err(Stop::Long);
            }
            Ok(false) => {}
            Err(stop) => {
                if stop.is_passing() {
                    steps.keep(work, false);
                }
                return Err(stop);
            }
        }
    }
}

/// Takes the steps behind work that is done. Where they stop it goes on from there.
pub fn follow<L: Long>(
    steps: &mut dyn Steps,
    mut work: Box<L>,
    then: impl FnOnce(&mut dyn Steps, &mut L) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let followed = then(steps, &mut work);
    if let Err(stop) = &followed
        && stop.is_passing()
    {
        steps.keep(work, matches!(stop, Stop::Long));
    }
    followed
}
