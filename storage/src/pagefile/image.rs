//! Images: what a page of any kind is on disk, and whether it is what it should be.
//!
//! All begin with the header that [`crate::page`] describes. Kinds: 1 leaf, 2 branch, 3 map page of pages, 4 of extents,
//! 5 and 6 pages of their directories. The words of kinds 3 to 6 follow the header; its count says how many there are.

use super::map::MAP_WORDS;
use crate::checksum::crc32c;
use crate::limits::PAGE_BYTES;
use crate::page::{HEADER_BYTES, Page};

/// What a map page is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    Pages = 3,
    Extents = 4,
    PagesDirectory = 5,
    ExtentsDirectory = 6,
}

/// What goes into every image's checksum and header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub salt: u32,
    pub lsn: u64,
}

const VERSION: u8 = 1;

/// Makes the image of a page of a tree; answers its checksum.
pub(crate) fn of_page(page: &Page, stamp: Stamp, out: &mut [u8]) -> u32 {
    out.copy_from_slice(page.as_bytes());
    out[8..16].copy_from_slice(&stamp.lsn.to_le_bytes());
    out[24..28].fill(0);
    seal(out, stamp.salt)
}

/// Makes the image of a map page; answers its checksum.
pub(crate) fn of_words(
    kind: MapKind,
    index: usize,
    words: impl Iterator<Item = u64>,
    stamp: Stamp,
    out: &mut [u8],
) -> u32 {
    out.fill(0);
    let mut count = 0;
    for (word, place) in words.zip(out[HEADER_BYTES..].chunks_exact_mut(8)) {
        place.copy_from_slice(&word.to_le_bytes());
        count += 1;
    }
    out[4..8].copy_from_slice(&(index as u32).to_le_bytes());
    out[8..16].copy_from_slice(&stamp.lsn.to_le_bytes());
    out[16] = kind as u8;
    out[17] = VERSION;
    out[18..20].copy_from_slice(&(count as u16).to_le_bytes());
    seal(out, stamp.salt)
}

fn seal(image: &mut [u8], salt: u32) -> u32 {
    let crc = crc(salt, image);
    image[..4].copy_from_slice(&crc.to_le_bytes());
    crc
}

pub(crate) fn crc(salt: u32, image: &[u8]) -> u32 {
    crc32c(&[&salt.to_le_bytes(), &image[4..]])
}

/// Whether an image is the one that its word vouches for.
pub(crate) fn verify(image: &[u8], salt: u32, number: u32, expected: u32) -> Result<(), &'static str> {
    let own = u32::from_le_bytes(image[..4].try_into().expect("four bytes"));
    if crc(salt, image) != own {
        return Err("the checksum does not hold");
    }
    if own != expected {
        return Err("an image that is not the newest one stands here: a write was lost or went elsewhere");
    }
    if u32::from_le_bytes(image[4..8].try_into().expect("four bytes")) != number {
        return Err("the image is another page's");
    }
    Ok(())
}

/// The words of a page of the map of pages, or of extents: nothing is trusted. A checksum is not looked at.
pub fn map_words(image: &[u8], is_of_extents: bool) -> Result<Vec<u64>, &'static str> {
    let kind = if is_of_extents { MapKind::Extents } else { MapKind::Pages };
    match image.len() {
        PAGE_BYTES => words(image, kind).map(Iterator::collect),
        _ => Err("it has not the length of a page"),
    }
}

/// The words of a verified map page.
pub(crate) fn words(image: &[u8], kind: MapKind) -> Result<impl Iterator<Item = u64>, &'static str> {
    if image[16] != kind as u8 || image[17] != VERSION {
        return Err("the page is of another kind");
    }
    let count = usize::from(u16::from_le_bytes(image[18..20].try_into().expect("two bytes")));
    if count > MAP_WORDS {
        return Err("the page has too many words");
    }
    let bytes = image[HEADER_BYTES..].chunks_exact(8).take(count);
    Ok(bytes.map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))))
}
