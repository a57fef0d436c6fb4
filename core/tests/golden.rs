//! Golden scripts: what clients send and what the machines answer, read aloud. The scripts are `golden/*.txt`.
//!
//! ```text
//! # A comment.
//! > SET greeting "hello\r\n" EX 10     a request; several in a row are one pipeline, sent in one piece
//! +OK                                  its reply
//! raw "PING\r\n"                       bytes as they are
//! +PONG
//! advance 10s                          time passes (ms, s, m, h, d); it begins at Unix time 1700000000
//! > GET greeting
//! nil
//! ```
//!
//! Replies are shown line by line: `+OK`, `-ERR ...`, `:1`, `"a bulk string"`, `nil` and `nil array` (RESP2), `null` (RESP3), `*2`, `%1`,
//! `~3`, `|1` or `push 2` with the elements below, indented, `#t`, `,1.5`, `="txt:verbatim"`. If nothing comes, the script says `(nothing)`; behind the
//! last reply of a connection it says `(closed)`. In an expectation `<any>` stands for any text, and a line `...` for any lines.
//!
//! Words of a request are separated by spaces; a word in quotes may hold `\r \n \t \" \\ \xHH`, and `"x"*100` is a hundred of them.
//!
//! Directives, each of which may be followed by what the current client receives through it:
//!
//! - `shards 2`, `setting NAME VALUE...`: before the first request. `<hash>word` in a value is a hash of that password.
//! - `client 2`: from now on, as this client. Client n is connected to shard n - 1 (wrapped around). Client 1 begins.
//! - `hangup`: the current client closes its connection.
//! - `sorted`: the elements of the next reply, an array, are shown in the order of their text.
//! - `advance TIME`.
//! - `disk hold`: operations of disks do not end until `disk go`, or fail with `disk fail ERRNO`. `disk one` ends the first of each
//!   disk.
//! - `mail hold`: what shards send each other does not arrive, until `mail go`.
//! - `reader hold`: the current client takes nothing more, until `reader go`; `reader take BYTES` is a part of it.
//! - `move`: the connection of the current client goes to the next shard's core: it is shown whether it is `(moved)` or `(stays)`. `move begin` offers it
//!   only, `move end` is the rest.
//! - `host hold`: the process answers no questions (passwords, SHUTDOWN), until `host go`.
//! - `crash`: everything stops; the machines start again with what was stable.
//! - `notes`: shows what the process around the machines was asked for or told since the last time.
//!
//! With `CAIRN_GOLDEN=write` in the environment the scripts are rewritten with what was received: read the difference.
#![allow(clippy::unwrap_used)]

mod asked;
mod deadlocks;
mod driver;
mod fields;
mod long;
mod open;
mod runs;
mod scan;
mod slices;
mod watch;

use driver::{PASSWORD_HASH, World, show};
use std::fs;
use std::path::Path;

/// Runs one script as it is read.
struct Script {
    /// Made at the first request.
    world: Option<World>,
    shards: u16,
    settings: Vec<Vec<String>>,
    client: u32,
    is_sorted: bool,
}

impl Script {
    fn new() -> Script {
        Script { world: None, shards: 1, settings: Vec::new(), client: 1, is_sorted: false }
    }

    fn world(&mut self) -> &mut World {
        self.world.get_or_insert_with(|| World::new(self.shards, &self.settings))
    }

    /// Performs a directive. The lines that it shows itself.
    fn direct(&mut self, line: &str) -> Vec<String> {
        let words: Vec<String> = show::words(line).into_iter().map(|word| String::from_utf8(word).unwrap()).collect();
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        match (words[0].as_str(), &args[..]) {
            ("shards", [shards]) if self.world.is_none() => self.shards = shards.parse().unwrap(),
            ("setting", [_, ..]) if self.world.is_none() => {
                let value = |word: &&str| word.replace("<hash>", PASSWORD_HASH);
                self.settings.push(args.iter().map(value).collect());
            }
            ("client", [client]) => self.client = client.parse().unwrap(),
            ("hangup", []) => {
                let client = self.client;
                self.world().hang_up(client);
            }
            ("sorted", []) => self.is_sorted = true,
            ("advance", [time]) => self.world().advance(milliseconds(time)),
            ("disk", ["hold"]) => self.world().is_disk_held = true,
            ("disk", ["one"]) => self.world().release_one(),
            ("disk", ["go"]) => {
                self.world().is_disk_held = false;
                self.world().release_disks();
            }
            ("disk", ["fail", errno]) => {
                self.world().is_disk_held = false;
                self.world().fail_disks(errno.parse().unwrap());
            }
            ("reader", ["take", bytes]) => {
                let (client, bytes) = (self.client, bytes.parse().unwrap());
                self.world().take_some(client, bytes);
            }
            ("reader", [word @ ("hold" | "go")]) => {
                let client = self.client;
                self.world().set_lazy(client, *word == "hold");
            }
            ("mail", ["hold"]) => self.world().is_mail_held = true,
            ("mail", ["go"]) => {
                self.world().is_mail_held = false;
                self.world().release_mail();
            }
            ("host", ["hold"]) => self.world().is_host_held = true,
            ("host", ["go"]) => {
                self.world().is_host_held = false;
                self.world().release_host();
            }
            ("move", parts) => {
                let client = self.client;
                let (is_moved, shown) = match parts {
                    ["begin"] => (self.world().offer(client), "(offered)"),
                    ["end"] => (self.world().hand_over(client), "(moved)"),
                    _ => (self.world().offer(client) && self.world().hand_over(client), "(moved)"),
                };
                return vec![if is_moved { shown } else { "(stays)" }.into()];
            }
            ("crash", []) => self.world().crash(),
            ("notes", []) => return std::mem::take(&mut self.world().notes),
            _ => panic!("not a directive here: {line}"),
        }
        Vec::new()
    }

    /// What the current client has received, as lines.
    fn received(&mut self) -> Vec<String> {
        let client = self.client;
        let (bytes, is_closed) = self.world().receive(client);
        let (mut replies, rest) = show::replies(&bytes);
        assert!(rest.is_empty(), "half a reply: {}", String::from_utf8_lossy(rest));
        if self.is_sorted {
            self.is_sorted = false;
            if let Some(first) = replies.first_mut() {
                first[1..].sort();
            }
        }
        let mut lines = replies.concat();
        if is_closed {
            lines.push("(closed)".into());
        }
        lines
    }
}

fn milliseconds(time: &str) -> u64 {
    let (number, unit) = time.split_at(time.find(|char: char| !char.is_ascii_digit()).unwrap());
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => panic!("no such unit of time: {time}"),
    };
    number.parse::<u64>().unwrap() * scale
}

const DIRECTIVES: [&str; 13] = [
    "shards", "setting", "client", "hangup", "sorted", "advance", "disk", "mail", "reader", "host", "crash", "notes",
    "move",
];

/// Whether a directive shows something itself.
fn tells(line: &str) -> bool {
    line.starts_with("notes") || line.starts_with("move")
}

fn is_directive(line: &str) -> bool {
    DIRECTIVES.contains(&line.split(' ').next().unwrap())
}

fn is_request(line: &str) -> bool {
    line.starts_with("> ") || line.starts_with("raw ")
}

fn is_expectation(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !is_request(line) && !is_directive(line)
}

/// Runs a script. Answers it as it should read, and what differs.
fn run(name: &str, text: &str) -> (String, Vec<String>) {
    let mut script = Script::new();
    let (mut written, mut differences) = (String::new(), Vec::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        written += &format!("{line}\n");
        let mut shown = Vec::new();
        if is_request(line) {
            let mut bytes = request_bytes(line);
            while let Some((_, next)) = lines.next_if(|(_, next)| is_request(next)) {
                written += &format!("{next}\n");
                bytes.extend(request_bytes(next));
            }
            let client = script.client;
            script.world().send(client, &bytes);
        } else if is_directive(line) {
            shown = script.direct(line);
        } else {
            assert!(!is_expectation(line), "{name}:{}: nothing was asked: {line}", number + 1);
            continue;
        }
        let mut expect = Vec::new();
        while let Some((_, next)) = lines.next_if(|(_, next)| is_expectation(next)) {
            expect.push(next.to_owned());
        }
        if expect.is_empty() && is_directive(line) && !tells(line) {
            // What comes is left for later.
            continue;
        }
        if !tells(line) {
            shown = script.received();
        }
        if shown.is_empty() {
            shown.push("(nothing)".into());
        }
        let is_same = matches(&expect, &shown);
        if !is_same {
            let (expect, shown) = (expect.join("\n    "), shown.join("\n    "));
            differences
                .push(format!("{name}:{}: {line}\n  expected\n    {expect}\n  received\n    {shown}", number + 1));
        }
        for line in if is_same { expect } else { shown } {
            written += &format!("{line}\n");
        }
    }
    (written, differences)
}

fn request_bytes(line: &str) -> Vec<u8> {
    match line.strip_prefix("> ") {
        Some(words) => show::request(&show::words(words)),
        None => show::words(&line["raw ".len()..]).concat(),
    }
}

/// Do the lines fit? `...` stands for any lines, `<any>` for any text within one.
fn matches(expect: &[String], shown: &[String]) -> bool {
    match expect.split_first() {
        None => shown.is_empty(),
        Some((first, rest)) if first.trim() == "..." => (0..=shown.len()).any(|taken| matches(rest, &shown[taken..])),
        Some((first, rest)) => {
            shown.split_first().is_some_and(|(line, others)| fits(first, line) && matches(rest, others))
        }
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    let Some((front, rest)) = pattern.split_once("<any>") else { return pattern == line };
    let Some(line) = line.strip_prefix(front) else { return false };
    (0..=line.len()).filter(|&at| line.is_char_boundary(at)).any(|at| fits(rest, &line[at..]))
}

#[test]
fn machines_answer_as_the_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let is_writing = std::env::var_os("CAIRN_GOLDEN").is_some_and(|value| value == "write");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "where are the scripts?");
    let mut failed = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (written, differences) = run(name, &fs::read_to_string(&path).unwrap());
        if is_writing {
            fs::write(&path, written).unwrap();
        }
        failed.extend(differences);
    }
    assert!(is_writing || failed.is_empty(), "{} differ\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_script_that_is_wrong_is_noticed() {
    let differ = |text: &str| run("inline", text).1.len();
    assert_eq!(differ("> SET k v\n+OK\n> GET k\n\"v\"\n"), 0);
    assert_eq!(differ("> SET k v\n+OK\n> GET k\n\"w\"\n"), 1);
    assert_eq!(differ("> SET k v\n> GET k\n+OK\n"), 1);
    assert_eq!(differ("> SET k v\n"), 1);
    assert_eq!(differ("> NOSUCH\n-ERR unknown <any>'NOSUCH'<any>\n"), 0);
}
