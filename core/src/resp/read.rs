//! Reads what commands have answered, in either version of the protocol: for commands that are made of commands.

/// What begins at a place of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A bulk or a simple string, or a double as it is written.
    Text(&'a [u8]),
    Integer(i64),
    /// So many items follow: twice as many as a map has pairs.
    Array(usize),
    Null,
    /// An error's line.
    Error(&'a [u8]),
}

/// A place in replies that stand behind each other.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `replies`: whole ones, blobs included.
    pub fn new(replies: &'a [u8]) -> Reader<'a> {
        Reader { rest: replies }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next bulk string, integer or double as text; `None` if it is a null or something else, or if nothing is left.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many items the array has that begins here; 0 if none does.
    pub fn array(&mut self) -> usize {
        if let Some(Item::Array(len)) = self.next() { len } else { 0 }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let Line { kind, text, rest } = next_line(self.rest)?;
        self.rest = rest;
        Some(match kind {
            b'$' | b'*' | b'%' if text == b"-1" => Item::Null,
            b'_' => Item::Null,
            b'$' | b'=' => {
                let (text, rest) = rest.split_at(length(text));
                self.rest = &rest[2..];
                Item::Text(if kind == b'=' { &text[4..] } else { text })
            }
            b'*' | b'~' | b'>' => Item::Array(length(text)),
            b'%' => Item::Array(2 * length(text)),
            b':' => Item::Integer(crate::command::args::parse_integer(text).expect("an integer is one")),
            b'#' => Item::Integer(i64::from(text == b"t")),
            b'-' => Item::Error(text),
            _ => Item::Text(text),
        })
    }
}

/// The first line of a value.
pub(super) struct Line<'a> {
    pub kind: u8,
    pub text: &'a [u8],
    pub rest: &'a [u8],
}

/// What kind of value begins, what its first line says, and what follows.
pub(super) fn next_line(bytes: &[u8]) -> Option<Line<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let len = memchr::memchr(b'\r', rest).expect("a reply's lines have ends");
    Some(Line { kind: *kind, text: &rest[..len], rest: &rest[len + 2..] })
}

/// What a line says of a length that is not that of a null.
pub(super) fn length(text: &[u8]) -> usize {
    let len = crate::command::args::parse_integer(text).expect("a length is an integer");
    usize::try_from(len).expect("nulls were looked for before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_are_read() {
        let replies = b"*2\r\n$3\r\na\r\n\r\n$-1\r\n:-7\r\n+OK\r\n-ERR no\r\n%1\r\n#t\r\n,1.5\r\n~1\r\n_\r\n*-1\r\n=7\r\ntxt:abc\r\n";
        let items: Vec<Item<'_>> = Reader::new(replies).collect();
        use Item::*;
        let expect = [
            Array(2),
            Text(b"a\r\n"),
            Null,
            Integer(-7),
            Text(b"OK"),
            Error(b"ERR no"),
            Array(2),
            Integer(1),
            Text(b"1.5"),
            Array(1),
            Null,
            Null,
            Text(b"abc"),
        ];
        assert_eq!(items, expect);
        let mut reader = Reader::new(replies);
        assert_eq!((reader.array(), reader.text(), reader.text()), (2, Some(&b"a\r\n"[..]), None));
        assert!(reader.rest().starts_with(b":-7"));
    }
}
