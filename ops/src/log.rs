//! The process's own log: Redis's line format, logfmt or JSON, to standard output or a file.
//!
//! Lines in `text` are `pid:M 20 Nov 2026 19:11:31.722 * text`, with Redis's marks for its four levels: `.` debug,
//! `-` verbose, `*` notice, `#` warning. A line is written with one call, so that lines of several threads do not mix.

use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// `log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Logfmt,
    Json,
}

impl Format {
    pub fn parse(word: &str) -> Option<Format> {
        match word {
            "text" => Some(Format::Text),
            "logfmt" => Some(Format::Logfmt),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// `loglevel`: what is written is at least so loud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Loudness {
    Debug,
    Verbose,
    #[default]
    Notice,
    Warning,
    Nothing,
}

impl Loudness {
    pub fn parse(word: &str) -> Option<Loudness> {
        match word {
            "debug" => Some(Loudness::Debug),
            "verbose" => Some(Loudness::Verbose),
            "notice" => Some(Loudness::Notice),
            "warning" => Some(Loudness::Warning),
            "nothing" => Some(Loudness::Nothing),
            _ => None,
        }
    }

    fn of(level: &Level) -> Loudness {
        match *level {
            Level::ERROR | Level::WARN => Loudness::Warning,
            Level::INFO => Loudness::Notice,
            Level::DEBUG => Loudness::Verbose,
            Level::TRACE => Loudness::Debug,
        }
    }

    fn mark(self) -> char {
        match self {
            Loudness::Debug => '.',
            Loudness::Verbose => '-',
            Loudness::Notice => '*',
            Loudness::Warning | Loudness::Nothing => '#',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Loudness::Debug => "debug",
            Loudness::Verbose => "verbose",
            Loudness::Notice => "notice",
            Loudness::Warning | Loudness::Nothing => "warning",
        }
    }
}

static LOUDNESS: AtomicU8 = AtomicU8::new(Loudness::Notice as u8);
static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    format: Format,
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

/// Starts logging. An empty `path` is standard output.
pub fn start(format: Format, loudness: Loudness, path: &str) -> Result<(), String> {
    set_loudness(loudness);
    let path = (!path.is_empty()).then(|| PathBuf::from(path));
    let file = match &path {
        Some(path) => Some(open(path).map_err(|error| format!("Can't open the log file {}: {error}", path.display()))?),
        None => None,
    };
    let sink = Sink { format, path, file: Mutex::new(file) };
    if SINK.set(sink).is_err() {
        return Err("the log was started twice".into());
    }
    let subscriber = tracing_subscriber::registry().with(Lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// CONFIG SET loglevel.
pub fn set_loudness(loudness: Loudness) {
    LOUDNESS.store(loudness as u8, Ordering::Relaxed);
}

/// After a rotation by rename: later lines go to a new file of the old name.
pub fn reopen() -> io::Result<()> {
    let Some(Sink { path: Some(path), file, .. }) = SINK.get() else { return Ok(()) };
    let fresh = open(path)?;
    *file.lock().expect("nothing panics while it holds this lock") = Some(fresh);
    Ok(())
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The end of the way: writes an event as a line.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The loudness may change while the server runs, so that nothing may be remembered about a call site.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Loudness::of(metadata.level()) as u8 >= LOUDNESS.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(sink) = SINK.get() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = line(sink.format, Loudness::of(event.metadata().level()), &jiff::Zoned::now(), &fields);
        let mut file = sink.file.lock().expect("nothing panics while it holds this lock");
        // A log that cannot be written (a full disk, a closed pipe) must not stop the server.
        let _ = match file.as_mut() {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()),
        };
    }
}

/// The message of an event, and what else it says.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.others.push((name, format!("{value:?}"))),
        }
    }
}

fn line(format: Format, loudness: Loudness, now: &jiff::Zoned, fields: &Fields) -> String {
    let pid = std::process::id();
    let iso = || now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
    let mut line = match format {
        Format::Text => {
            // One event, one line: a line break in a message would let a client forge lines.
            let text = fields.message.replace(['\n', '\r'], " ");
            let mut line = format!("{pid}:M {} {} {text}", now.strftime("%d %b %Y %H:%M:%S%.3f"), loudness.mark());
            for (name, value) in &fields.others {
                let _ = write!(line, " {name}={}", logfmt_value(value));
            }
            line
        }
        Format::Logfmt => {
            let message = logfmt_value(&fields.message);
            let level = loudness.name();
            let mut line = format!("pid={pid} role=master timestamp=\"{}\" level={level} message={message}", iso());
            for (name, value) in &fields.others {
                let _ = write!(line, " {name}={}", logfmt_value(value));
            }
            line
        }
        Format::Json => {
            let mut object = Map::new();
            object.insert("timestamp".into(), iso().to_string().into());
            object.insert("level".into(), loudness.name().into());
            object.insert("pid".into(), pid.into());
            object.insert("role".into(), "master".into());
            object.insert("message".into(), fields.message.as_str().into());
            for (name, value) in &fields.others {
                object.insert((*name).into(), value.as_str().into());
            }
            Value::Object(object).to_string()
        }
    };
    line.push('\n');
    line
}

fn logfmt_value(value: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "-._:/+@".contains(char);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_string();
    }
    let mut quoted = String::from("\"");
    for char in value.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            _ if char.is_control() => {}
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, loudness: Loudness, expect: &str) {
        let now: jiff::Zoned = "2026-11-20T19:11:31.722045[UTC]".parse().unwrap();
        let fields = Fields { message: "a \"b\"\nc".into(), others: vec![("shard", "3".into())] };
        let pid = std::process::id();
        assert_eq!(line(format, loudness, &now, &fields), expect.replace("PID", &pid.to_string()));
    }

    #[test]
    fn lines_have_the_format_that_readers_know() {
        check(Format::Text, Loudness::Notice, "PID:M 20 Nov 2026 19:11:31.722 * a \"b\" c shard=3\n");
        check(Format::Text, Loudness::Warning, "PID:M 20 Nov 2026 19:11:31.722 # a \"b\" c shard=3\n");
        check(
            Format::Logfmt,
            Loudness::Verbose,
            "pid=PID role=master timestamp=\"2026-11-20T19:11:31.722+00:00\" level=verbose message=\"a \\\"b\\\"\\nc\" shard=3\n",
        );
        check(
            Format::Json,
            Loudness::Debug,
            "{\"level\":\"debug\",\"message\":\"a \\\"b\\\"\\nc\",\"pid\":PID,\"role\":\"master\",\"shard\":\"3\",\"timestamp\":\"2026-11-20T19:11:31.722+00:00\"}\n",
        );
    }
}
