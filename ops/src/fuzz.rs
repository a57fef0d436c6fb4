//! `cairn fuzz`: hostile input ([`cairn_bench::fuzz`]), the configuration's among it.

use crate::config::{Configuration, words};
use cairn_bench::fuzz::{self, FuzzArgs, Target};
use std::process::ExitCode;

/// A configuration's text: what is taken can be quoted and read again. Files that it includes are nobody's input here.
const CONFIG: Target = Target { name: "config", corpus, run: read };

pub fn run(args: &FuzzArgs) -> ExitCode {
    fuzz::run(args, &[CONFIG])
}

fn corpus() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 5] = [
        b"# a comment\nport 7000\nbind 127.0.0.1 -::1\n",
        b"maxmemory 100mb\nmemory 2gb\nsave 3600 1 300 100 60 10000\n",
        b"notify-keyspace-events \"KEA\"\nlogfile '/tmp/it\\'s'\nloglevel verbose\r\n",
        b"client-output-buffer-limit normal 0 0 0 slave 256mb 64mb 60\nunknown 1\n",
        b"slowlog-log-slower-than -1\nappendfsync everysec\ndir \"\\x2ftmp\"\nport 70000\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

fn read(text: &[u8]) {
    if text.windows(7).any(|word| word.eq_ignore_ascii_case(b"include")) {
        return;
    }
    let _ = Configuration::of_text(text);
    for line in text.split(|byte| *byte == b'\n') {
        for word in words::split(line).unwrap_or_default() {
            let Ok(word) = String::from_utf8(word) else { continue };
            let quoted = words::quote(&word);
            assert_eq!(words::split(quoted.as_bytes()), Some(vec![word.into_bytes()]), "{quoted}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CONFIG;

    #[test]
    fn a_configuration_of_any_bytes_is_read_or_refused() {
        assert_eq!(cairn_bench::fuzz::fuzz(&CONFIG, 50_000, 1), Ok(()));
    }
}
