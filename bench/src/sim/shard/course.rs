//! The course of a run whose crash images are looked at, whatever it is a run of: which image is the one being made, which are wanted,
//! how many there may be yet.

use super::Stopped;
use crate::sim::faults::Planted;
use fastrand::Rng;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Which image: of which run, at which operation, which of those there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageId {
    pub seed: u64,
    pub operation: u64,
    pub image: u64,
}

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.seed, self.operation, self.image)
    }
}

impl std::str::FromStr for ImageId {
    type Err = String;

    fn from_str(text: &str) -> Result<ImageId, String> {
        let numbers: Result<Vec<u64>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[seed, operation, image]) => Ok(ImageId { seed, operation, image }),
            _ => Err("an image is named by three numbers, as 17:230:5".to_owned()),
        }
    }
}

/// The images of one run, and what they come to.
pub struct Images<Figures> {
    pub planted: Option<Planted>,
    /// Only this one.
    only: Option<ImageId>,
    /// How many there may be yet.
    left: u64,
    pub figures: Figures,
    /// The one that is looked at.
    pub now: ImageId,
}

impl<Figures: Copy> Images<Figures> {
    pub fn new(seed: u64, planted: Option<Planted>, only: Option<ImageId>, left: u64, figures: Figures) -> Self {
        Images { planted, only, left, figures, now: ImageId { seed, operation: 0, image: 0 } }
    }

    /// The run that they are of. What it comes to, or the image that is wrong and why.
    pub fn of(
        self,
        drive: impl FnOnce(&Rc<RefCell<Self>>) -> Result<(), Stopped>,
    ) -> Result<Figures, (ImageId, String)> {
        let images = Rc::new(RefCell::new(self));
        let ran = catch_unwind(AssertUnwindSafe(|| drive(&images)));
        let images = images.borrow();
        match ran {
            Ok(Ok(()) | Err(Stopped::Enough)) => Ok(images.figures),
            Ok(Err(Stopped::Broken(what))) => Err((images.now, what)),
            Err(panic) => Err((images.now, crate::sim::said(&*panic))),
        }
    }

    /// The images from here on are of the next operation.
    pub fn next_operation(&mut self) {
        self.now.operation += 1;
        self.now.image = 0;
    }

    /// Goes on to the next image. Whether it is wanted.
    pub fn next_image(&mut self) -> bool {
        self.now.image += 1;
        self.only.is_none_or(|only| only == self.now)
    }

    /// The image is right.
    pub fn passed(&mut self) -> Result<(), Stopped> {
        self.left -= 1;
        if self.left == 0 || self.only.is_some() { Err(Stopped::Enough) } else { Ok(()) }
    }

    /// The numbers of one image: its own, so that it can be made again without those before it.
    pub fn rng(&self) -> Rng {
        let ImageId { seed, operation, image } = self.now;
        Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ operation << 20 ^ image)
    }
}
