//! Who may do what: users against every command of the table.

use super::*;
use crate::acl::category::{Categories, NAMES};
use crate::acl::{Fresh, merge};
use crate::command::args::copied;
use crate::command::{Flags, Run, Spec};

fn user(rules: &str) -> User {
    let mut user = User::new(b"u".to_vec(), Fresh::default());
    for rule in merge(rules.split(' ').map(str::as_bytes)).unwrap() {
        user.apply(&rule, Fresh::default()).unwrap();
    }
    user
}

/// What is denied, by the argument that is the reason.
fn denied(user: &User, line: &str) -> Option<(Denied, String)> {
    let (bytes, ranges) = copied(line.split(' ').map(str::as_bytes));
    let args = Args::new(&bytes, &ranges);
    let entry = table::lookup(&args).unwrap();
    let denial = user.check(entry, &args).err()?;
    Some((denial.what, String::from_utf8(args[denial.at].to_vec()).unwrap()))
}

#[test]
fn keys_are_checked_by_what_is_done_with_them() {
    let reads = user("+@all %R~r* %W~w* ~b*");
    for (line, expect) in [
        ("get r", None),
        ("get w", Some((Denied::Key, "w"))),
        ("get b", None),
        ("set w 1", None),
        ("set r 1", Some((Denied::Key, "r"))),
        ("set w 1 get", Some((Denied::Key, "w"))),
        ("set b 1 get", None),
        ("incr w", Some((Denied::Key, "w"))),
        ("copy r w", None),
        ("copy w r", Some((Denied::Key, "w"))),
        ("rename b w", None),
        ("rename r w", Some((Denied::Key, "r"))),
        ("mget r b x", Some((Denied::Key, "x"))),
        ("mset w 1 b 2 r 3", Some((Denied::Key, "r"))),
        ("del w b", None),
        ("eval return 2 b1 r1", Some((Denied::Key, "r1"))),
        ("eval_ro return 1 r1", None),
        ("eval return notanumber x", None),
        ("ping", None),
        ("idempotent key 1000 set w 1", None),
        ("idempotent key 1000 set x 1", Some((Denied::Key, "x"))),
    ] {
        assert_eq!(denied(&reads, line), expect.map(|(what, arg)| (what, arg.to_owned())), "{line}");
    }
}

#[test]
fn one_selector_must_allow_all_of_it() {
    let user = user("-@all +get ~a (+set ~b) (+get ~c) (-@all +select|1)");
    for (line, expect) in [
        ("get a", None),
        ("set b 1", None),
        ("get c", None),
        ("set a 1", Some(Denied::Key)),
        ("get b", Some(Denied::Key)),
        ("mget a c", Some(Denied::Command)),
        ("select 1", None),
        ("select 0", Some(Denied::Command)),
        ("auth x", None),
    ] {
        assert_eq!(denied(&user, line).map(|(what, _)| what), expect, "{line}");
    }
}

#[test]
fn texts_are_those_of_redis() {
    let user = user("+get ~a");
    let denial = |what| Denial { what, at: 1, command: "config|get" };
    for (what, object, expect) in [
        (Denied::Command, None, "User u has no permissions to run the 'config|get' command"),
        (Denied::Key, None, "No permissions to access a key"),
        (Denied::Key, Some("k"), "User u has no permissions to access the 'k' key"),
        (Denied::Channel, None, "No permissions to access a channel"),
        (Denied::Channel, Some("c"), "User u has no permissions to access the 'c' channel"),
    ] {
        assert_eq!(denial(what).text(&user, object.map(str::as_bytes)), expect);
    }
}

/// All commands that do something, with arguments enough for each; keys are called `key`.
fn every_command() -> Vec<(&'static Spec, Vec<Vec<u8>>)> {
    let every = table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let every = every.filter(|spec| !matches!(spec.run, Run::Container));
    let with_args = |spec: &'static Spec| {
        let mut words: Vec<Vec<u8>> = spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
        let least = usize::from(spec.arity.unsigned_abs()).max(spec.keys.first + 1);
        words.resize(least.max(words.len()), b"key".to_vec());
        if spec.keynum > 0 {
            words.resize(words.len().max(spec.keynum + 2), b"key".to_vec());
            words[spec.keynum] = b"1".to_vec();
        }
        if spec.name == "idempotent" {
            words[3] = b"ping".to_vec();
        }
        (spec, words)
    };
    every.map(with_args).collect()
}

fn check(user: &User, words: &[Vec<u8>]) -> Result<(), Denial> {
    let (bytes, ranges) = copied(words.iter().map(Vec::as_slice));
    let args = Args::new(&bytes, &ranges);
    user.check(table::lookup(&args).unwrap(), &args)
}

/// Commands that strangers may use too are not denied to anybody.
fn is_for_all(spec: &Spec) -> bool {
    spec.flags.has(Flags::NO_AUTH)
}

#[test]
fn every_command_is_denied_to_who_may_do_all_but_it() {
    for (spec, words) in every_command() {
        let user = user(&format!("+@all ~* &* -{}", spec.name));
        let expect = Err(Denial { what: Denied::Command, at: 0, command: spec.name });
        assert_eq!(check(&user, &words), if is_for_all(spec) { Ok(()) } else { expect }, "{}", spec.name);
        for (other, words) in every_command() {
            let is_denied = check(&user, &words).is_err();
            // What is the default of a container is its subcommands too.
            let is_it = other.name == spec.name || other.name.starts_with(&format!("{}|", spec.name));
            let is_inner = other.name == "idempotent" && spec.name == "ping";
            assert_eq!(is_denied, (is_it || is_inner) && !is_for_all(other), "{} without {}", other.name, spec.name);
        }
    }
}

#[test]
fn every_command_is_denied_to_who_may_do_nothing_but_others() {
    for (spec, words) in every_command() {
        let user = user(&format!("-@all ~* &* +{}", spec.name));
        let is_inner_denied = spec.name == "idempotent";
        assert_eq!(check(&user, &words).is_err(), is_inner_denied, "{}", spec.name);
        let others = every_command().into_iter().filter(|(_, words)| check(&user, words).is_ok());
        let others = others.filter(|(other, _)| !is_for_all(other)).map(|(other, _)| other.name);
        let is_it = |other: &str| other == spec.name || other.starts_with(&format!("{}|", spec.name));
        others.for_each(|other| assert!(is_it(other), "{other} with {}", spec.name));
    }
}

#[test]
fn every_command_is_denied_to_who_may_not_use_its_category() {
    for name in NAMES {
        let wanted = Categories::named(name.as_bytes()).unwrap();
        let without = user(&format!("+@all ~* &* -@{name}"));
        let only = user(&format!("-@all ~* &* +@{name}"));
        for (spec, words) in every_command() {
            // Taking a container away takes its subcommands away; giving it gives them.
            let container = spec.name.split_once('|').and_then(|(container, _)| table::find(container.as_bytes()));
            let is_in =
                Categories::of(spec).meet(wanted) || container.is_some_and(|it| Categories::of(it).meet(wanted));
            let inner = (spec.name == "idempotent").then(|| Categories::of(table::find(b"ping").unwrap()).meet(wanted));
            let is_denied = !is_for_all(spec) && (is_in || inner == Some(true));
            assert_eq!(check(&without, &words).is_err(), is_denied, "{} without @{name}", spec.name);
            let is_allowed = is_for_all(spec) || is_in && inner != Some(false);
            assert_eq!(check(&only, &words).is_ok(), is_allowed, "{} with only @{name}", spec.name);
        }
    }
}

#[test]
fn every_command_is_denied_to_who_may_not_use_its_keys() {
    let (others, reads, writes) = (user("+@all &* ~other"), user("+@all &* %R~key"), user("+@all &* %W~key"));
    let mut seen = [0; 3];
    for (spec, words) in every_command() {
        let (bytes, ranges) = copied(words.iter().map(Vec::as_slice));
        let args = Args::new(&bytes, &ranges);
        // Sharded channels stand where keys would, but are none.
        let keys = if spec.has_keys() { spec.key_positions(&args).unwrap_or_default() } else { Vec::new() };
        let uses: Vec<Access> = (0..keys.len()).map(|number| Access::of_use(spec.key_use(number, &args))).collect();
        let denied = |user: &User| check(user, &words).is_err_and(|denial| denial.what == Denied::Key);
        assert_eq!(denied(&others), !keys.is_empty(), "{}", spec.name);
        assert_eq!(denied(&reads), uses.iter().any(|access| access.writes), "{} with reads", spec.name);
        assert_eq!(denied(&writes), uses.iter().any(|access| access.reads), "{} with writes", spec.name);
        for (count, is_one) in seen.iter_mut().zip([keys.is_empty(), denied(&reads), denied(&writes)]) {
            *count += usize::from(is_one);
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[test]
fn no_word_of_a_use_of_keys_is_unknown() {
    const WORDS: [&str; 12] =
        ["RO", "RW", "OW", "RM", "access", "insert", "update", "delete", "not_key", "incomplete", "variable_flags", ""];
    for spec in table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        let words = spec.key_uses().iter().flat_map(|words| words.split(' '));
        words.for_each(|word| assert!(WORDS.contains(&word), "{}: {word}", spec.name));
    }
}
