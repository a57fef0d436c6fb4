//! One bit is changed in each kind of thing that a data directory consists of: `cairn check` names it, and the server
//! refuses it, or serves all that it does not concern.

use crate::server::{BINARY, Recipe, Server, scratch};
use cairn_storage::checksum::crc32c;
use redis::{Connection, cmd};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROWS: usize = 2500;
const PAGE_BYTES: u64 = 8192;
const PAGES: &str = "shard-0000/pages";

/// Makes a data directory with small segments, so that copies of it cost little.
fn create(data: &Path) {
    let log = data.join("shard-0000/log");
    fs::create_dir_all(&log).unwrap();
    File::create(log.join(format!("{:020}.seg", 0))).unwrap();
    let node = "0123456789abcdef0123456789abcdef01234567";
    let text = format!("cairn 1\nnode {node}\nshards 1\nsegment_bytes 1048576\nseed 00000000075bcd15\ncreated 1\n");
    fs::write(data.join("manifest"), format!("{text}crc32c {:08x}\n", crc32c(&[text.as_bytes()]))).unwrap();
}

fn key(number: usize) -> String {
    format!("key:{number}")
}

fn value(number: usize) -> String {
    if number == 77 { "long".repeat(30_000) } else { format!("{number:0300}") }
}

/// Fills it by way of the server: two checkpoints, and some log behind them.
fn fill(recipe: &Recipe) {
    let mut server = recipe.start();
    let mut connection = server.client();
    for round in 0..3 {
        let mut pipe = redis::pipe();
        // What the log behind the checkpoints changes is one row only: a start needs few pages.
        for number in (0..ROWS).filter(|number| [true, number % 7 == 1, *number == 5][round]) {
            pipe.set(key(number), value(number)).ignore();
        }
        pipe.cmd("PEXPIRE").arg(key(5)).arg(1_000_000_000_u64).ignore();
        pipe.exec(&mut connection).unwrap();
        if round < 2 {
            cmd("SAVE").exec(&mut connection).unwrap();
        }
    }
    // Each of these flushes says that those before are durable.
    for _ in 0..3 {
        cmd("SET").arg(key(5)).arg(value(5)).exec(&mut connection).unwrap();
    }
    server.kill();
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &to) } else { drop(fs::copy(entry.path(), to)) }
    }
}

pub fn flip(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// What `cairn check --json` ends with, and says.
fn check(data: &Path) -> (i32, Value) {
    let output = Command::new(BINARY).arg("check").arg(data).arg("--json").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{:?}", output.stderr));
    (output.status.code().unwrap(), said)
}

/// The one damaged directory of a test.
pub struct Case {
    _scratch: tempfile::TempDir,
    pub recipe: Recipe,
    pub data: PathBuf,
}

impl Case {
    pub fn sound() -> Case {
        let scratch = scratch();
        let recipe = Recipe::new(scratch.path());
        let data = scratch.path().join("data");
        create(&data);
        fill(&recipe);
        Case { _scratch: scratch, recipe, data }
    }

    fn copy(&self) -> Case {
        let scratch = scratch();
        let recipe = Recipe::new(scratch.path());
        let data = scratch.path().join("data");
        copy(&self.data, &data);
        Case { _scratch: scratch, recipe, data }
    }

    pub fn pages(&self) -> PathBuf {
        self.data.join(PAGES)
    }

    /// Changes a page of this kind that is in use; answers its offset, and what the check says of it.
    pub fn damage(&self, kind: u8, part: &str) -> (u64, Value) {
        let bytes = fs::read(self.pages()).unwrap();
        for offset in (2 * PAGE_BYTES..bytes.len() as u64).step_by(PAGE_BYTES as usize) {
            if bytes[offset as usize + 16..][..2] != [kind, 1] {
                continue;
            }
            flip(&self.pages(), offset + 100);
            let (code, said) = check(&self.data);
            let findings = said["shards"][0]["pages"]["findings"].as_array().unwrap();
            // What belongs to the checkpoint before, or to none, is not what this is about.
            if let Some(finding) = findings.iter().find(|it| it["is_newest"] == true) {
                assert_eq!((code, said["verdict"].as_str()), (1, Some("damaged")));
                assert_eq!(finding["offset"], offset, "{said:#}");
                assert!(finding["what"].as_str().unwrap().contains(part), "{finding:#}");
                return (offset, finding.clone());
            }
            flip(&self.pages(), offset + 100);
        }
        panic!("no page of kind {kind} is in use");
    }

    /// Starts a server and reads everything. Answers it, and what those said that could not be read.
    pub fn serve(&self) -> (Server, Vec<String>) {
        let server = self.recipe.start();
        let mut connection = server.client();
        let refused = (0..ROWS).filter_map(|number| read(&mut connection, number)).collect();
        (server, refused)
    }
}

/// A field of INFO.
pub fn info(server: &Server, name: &str) -> String {
    let text: String = cmd("INFO").query(&mut server.client()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_string()
}

/// A value is right, or refused: then what is said.
fn read(connection: &mut Connection, number: usize) -> Option<String> {
    match cmd("GET").arg(key(number)).query::<String>(connection) {
        Ok(found) => {
            assert_eq!(found, value(number), "a wrong value was served");
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn what_is_sound_is_said_to_be_and_is_not_changed() {
    let case = Case::sound();
    let before = fs::read(case.data.join("LOCK")).unwrap();
    let (code, said) = check(&case.data);
    assert_eq!((code, said["verdict"].as_str()), (0, Some("sound")), "{said:#}");
    let (pages, log) = (&said["shards"][0]["pages"], &said["shards"][0]["log"]);
    assert_eq!((pages["trees"][0]["rows"].as_u64(), pages["extents"].as_u64()), (Some(ROWS as u64), Some(1)));
    assert!(log["records"].as_u64().unwrap() > 300 && log["damage"] == Value::Array(vec![]), "{said:#}");
    assert_eq!(fs::read(case.data.join("LOCK")).unwrap(), before);
    // The same for people.
    let (status, text) = crate::server::run(&["check", case.data.to_str().unwrap()]);
    assert!(status.success() && text.contains("SOUND: everything"), "{text}");
    assert!(text.contains(&format!("database 0   {ROWS} rows")), "{text}");
    // While a server has it, nothing can be said.
    let server = case.recipe.start();
    let (status, text) = crate::server::run(&["check", case.data.to_str().unwrap()]);
    assert!(status.code() == Some(2) && text.contains(&format!("in use by process {}", server.child.id())), "{text}");
    drop(server);
    let (status, text) = crate::server::run(&["check", "/no/such/place"]);
    assert!(status.code() == Some(2) && text.contains("/no/such/place"), "{text}");
}

#[test]
fn a_damaged_page_or_value_is_refused_and_all_else_served() {
    let sound = Case::sound();
    for (kind, part) in [(1, "page"), (7, "extent")] {
        let case = sound.copy();
        let (offset, finding) = case.damage(kind, part);
        let (server, refused) = case.serve();
        assert!(!refused.is_empty() && refused.len() < 60, "{} of {ROWS}", refused.len());
        let named = format!("damaged at offset {offset}");
        assert!(refused.iter().all(|said| said.contains(&named)), "{refused:?}");
        // Once, however often it is asked for.
        assert_eq!(server.log().matches(&named).count(), 1, "{}", server.log());
        assert_eq!(info(&server, "cairn_pages_damaged"), "1");
        let behind = if kind == 1 { " of database 0, heads from 0x" } else { "shard-0000/pages, extent 0" };
        assert!(refused[0].contains(behind) && server.log().contains(behind), "{refused:?}");
        if kind == 1 {
            let text = finding["keys"]["text"].as_str().unwrap();
            assert!(text.contains("slot ") && text.contains("key:"), "{text}");
        }
    }
}

#[test]
fn a_damaged_map_is_replaced_by_the_checkpoint_before() {
    let sound = Case::sound();
    for (kind, part) in [(3, "map page"), (5, "directory page")] {
        let case = sound.copy();
        let (offset, finding) = case.damage(kind, part);
        assert!(finding["advice"].as_str().unwrap().contains("goes back to the checkpoint before"), "{finding:#}");
        let (server, refused) = case.serve();
        assert_eq!(refused, Vec::<String>::new());
        assert!(server.log().contains(&format!("is damaged at offset {offset}")), "{}", server.log());
    }
}

#[test]
fn damaged_superblocks_are_named_and_lose_nothing_or_refuse() {
    let sound = Case::sound();
    let (_, said) = check(&sound.data);
    let newest = said["shards"][0]["pages"]["generation"].as_u64().unwrap();
    for site in [newest % 2, (newest + 1) % 2] {
        let case = sound.copy();
        flip(&case.pages(), site * PAGE_BYTES + 50);
        let (code, said) = check(&case.data);
        let finding = &said["shards"][0]["pages"]["findings"][0];
        assert_eq!((code, finding["offset"].as_u64()), (1, Some(site * PAGE_BYTES)), "{said:#}");
        assert!(finding["advice"].as_str().unwrap().contains("loses nothing acknowledged"), "{said:#}");
        let (server, refused) = case.serve();
        assert_eq!(refused, Vec::<String>::new());
        let named = format!("damaged at offset {}", site * PAGE_BYTES);
        assert!(server.log().contains(&named) && server.log().contains("nothing acknowledged is lost"));
        assert_eq!(info(&server, "cairn_checkpoint_fallbacks"), "1");
    }
    // Without either, and with the log's beginning gone, there is nothing to start from.
    let case = sound.copy();
    flip(&case.pages(), 50);
    flip(&case.pages(), PAGE_BYTES + 50);
    let (code, said) = check(&case.data);
    let findings = said["shards"][0]["pages"]["findings"].as_array().unwrap();
    assert_eq!((code, findings.len()), (1, 2));
    let is_log_whole = said["shards"][0]["log"]["damage"] == Value::Array(vec![]);
    if is_log_whole {
        let (_server, refused) = case.serve();
        assert_eq!(refused, Vec::<String>::new());
    } else {
        assert!(case.recipe.refused().contains("lacks segment 0"));
    }
}

#[test]
fn a_damaged_log_or_manifest_is_refused_by_check_and_server() {
    let sound = Case::sound();
    let (_, said) = check(&sound.data);
    let pages = &said["shards"][0]["pages"];
    let newest = pages["generation"].as_u64().unwrap() as usize % 2;
    // What a start reads first behind the checkpoint was acknowledged: more came later.
    let start = pages["superblocks"][newest]["lsn"].as_u64().unwrap();
    let (segment, offset) = (start / (1 << 20), (start % (1 << 20)).next_multiple_of(4096));
    let case = sound.copy();
    let name = format!("{segment:020}.seg");
    let file = case.data.join("shard-0000/log").join(name);
    flip(&file, offset + 60);
    let (code, said) = check(&case.data);
    let damage = &said["shards"][0]["log"]["damage"][0];
    assert_eq!((code, damage["file"].as_str(), damage["offset"].as_u64()), (1, file.to_str(), Some(offset)));
    assert!(damage["what"].as_str().unwrap().contains("proves that it was sound once"), "{said:#}");
    assert!(case.recipe.refused().contains(&format!("{}, offset {offset}", file.display())));

    let case = sound.copy();
    flip(&case.data.join("manifest"), 20);
    let (code, said) = check(&case.data);
    assert!(code == 1 && said["error"].as_str().unwrap().contains("manifest is damaged"), "{said:#}");
    assert!(case.recipe.refused().contains("manifest is damaged"));
}
