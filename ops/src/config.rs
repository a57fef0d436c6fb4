//! The configuration: flags over environment over file over default, all in redis.conf's grammar.
//!
//! Each layer is read to [`Directive`]s, and these are set one after the other, so that the later one wins. Nothing
//! is guessed: a name that no parameter has, or a value that a parameter cannot take, refuses the start and says
//! where it stands. A parameter that has no effect here is named once, with the reason.

mod arguments;
mod directive;
mod effectless;
mod environment;
mod file;
mod rewrite;
pub mod words;

pub use arguments::Arguments;
pub use directive::{ConfigError, is_secret};
pub use rewrite::{replace, rewrite};

use crate::{password, users};
use cairn_core::settings::{self, SetOutcome, SettingError, Settings, Source};
use directive::{Directive, Origin};
use effectless::Effectless;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the server starts with.
#[derive(Debug)]
pub struct Configuration {
    pub settings: Settings,
    /// The file, by its absolute path.
    pub file: Option<PathBuf>,
    /// What the operator should know: parameters without effect, variables without meaning.
    pub warnings: Vec<String>,
}

impl Configuration {
    /// All layers: file, standard input if asked for, environment, flags.
    pub fn load(arguments: Arguments) -> Result<Configuration, ConfigError> {
        let mut directives = match &arguments.file {
            Some(path) => file::read(Path::new(path))?,
            None => Vec::new(),
        };
        if arguments.from_stdin {
            directives.extend(file::read_stdin(&stdin()?)?);
        }
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let (variables, unknown) = environment::read(variables, |name| settings::parameter(name).is_some());
        directives.extend(variables);
        directives.extend(arguments.directives);
        let mut configuration = Configuration::of(directives)?;
        let ignored = unknown.into_iter().filter(|name| name != "CAIRN_RIGS");
        configuration.warnings.extend(ignored.map(|name| {
            format!("Environment variable {name} is left out: it names no parameter, or comes from Kubernetes")
        }));
        configuration.file = arguments.file.map(|path| std::path::absolute(&path).unwrap_or_else(|_| path.into()));
        Ok(configuration)
    }

    /// A text alone.
    pub fn of_text(text: &[u8]) -> Result<Configuration, ConfigError> {
        Configuration::of(file::read_stdin(text)?)
    }

    /// A file alone, for `check-config`.
    pub fn of_file(path: &Path) -> Result<Configuration, ConfigError> {
        Configuration::of(file::read(path)?)
    }

    fn of(mut directives: Vec<Directive>) -> Result<Configuration, ConfigError> {
        hide_password(&mut directives)?;
        hide_users(&mut directives)?;
        let mut settings = Settings::default();
        let mut effectless = Effectless::default();
        for directive in &directives {
            let values: Vec<&str> = directive.values.iter().map(String::as_str).collect();
            match settings.set(source(&directive.origin), &directive.name, &values) {
                Ok(SetOutcome::Set) => {}
                Ok(SetOutcome::Ignored { reason }) => effectless.add(directive, reason),
                Err(error) => return Err(wrong(directive, &error)),
            }
        }
        read_users(&mut settings, &directives)?;
        Ok(Configuration { settings, file: None, warnings: effectless.lines().collect() })
    }
}

/// Puts the hash of the password that counts, the last one, in the place of all that are given.
fn hide_password(directives: &mut Vec<Directive>) -> Result<(), ConfigError> {
    let Some(last) = directives.iter().rposition(|directive| directive.name == "requirepass") else { return Ok(()) };
    let Directive { values, origin, .. } = &mut directives[last];
    if let [password] = values.as_mut_slice() {
        *password = password::stored_form(password).map_err(|why| ConfigError::Line {
            origin: origin.clone(),
            text: "requirepass (hidden)".into(),
            why,
            advice: String::new(),
        })?;
    }
    let mut index = 0;
    directives.retain(|directive| {
        index += 1;
        directive.name != "requirepass" || index == last + 1
    });
    Ok(())
}

/// Puts the hashes of users' passwords in their place.
fn hide_users(directives: &mut [Directive]) -> Result<(), ConfigError> {
    for Directive { values, origin, .. } in directives.iter_mut().filter(|directive| directive.name == "user") {
        for value in values.iter_mut().skip(1) {
            if let Some(password) = value.strip_prefix('>') {
                let hash = password::hash(password.as_bytes()).map_err(|why| ConfigError::Line {
                    origin: origin.clone(),
                    text: "user (hidden)".into(),
                    why,
                    advice: String::new(),
                })?;
                *value = format!("#{hash}");
            }
        }
    }
    Ok(())
}

/// The file of users, if there is one. There cannot be users in both.
fn read_users(settings: &mut Settings, directives: &[Directive]) -> Result<(), ConfigError> {
    let Some(directive) = directives.iter().rfind(|directive| directive.name == "aclfile") else { return Ok(()) };
    if settings.aclfile.is_empty() {
        return Ok(());
    }
    let refused = |why: String| {
        let (origin, text) = (directive.origin.clone(), directive.shown());
        Err(ConfigError::Line { origin, text, why, advice: String::new() })
    };
    if settings.has_users() {
        return refused(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This setup is \
             very likely to lead to configuration errors and security holes, please define either an ACL file or declare users \
             directly in your redis.conf, but not both."
                .into(),
        );
    }
    match users::read(&settings.aclfile, settings.fresh()) {
        Ok(users) => settings.set_users_of_file(users),
        Err(why) => return refused(why),
    }
    Ok(())
}

fn source(origin: &Origin) -> Source {
    match origin {
        Origin::File { .. } | Origin::Stdin { .. } => Source::File,
        Origin::Environment { .. } => Source::Environment,
        Origin::CommandLine => Source::Flag,
    }
}

fn wrong(directive: &Directive, error: &SettingError) -> ConfigError {
    let (why, advice) = match error {
        SettingError::Unknown => {
            let advice = match nearest(&directive.name) {
                Some(name) => format!("Did you mean '{name}'?"),
                None => match directive.origin {
                    Origin::CommandLine => "'cairn serve --help' lists the directives.".into(),
                    _ => "Correct the line or take it out; 'cairn check-config FILE' checks a file.".into(),
                },
            };
            ("Bad directive or wrong number of arguments".to_string(), advice)
        }
        other => (other.to_string(), String::new()),
    };
    ConfigError::Line { origin: directive.origin.clone(), text: directive.shown(), why, advice }
}

/// The parameter whose name differs least, if it differs little.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = settings::parameters().map(|parameter| (distance(name, parameter.name), parameter.name));
    distances.min().filter(|(distance, _)| *distance <= 2).map(|(_, name)| name)
}

/// Levenshtein's: how many letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn stdin() -> Result<Vec<u8>, ConfigError> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(crate::limits::CONFIG_FILE_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| ConfigError::Unreadable { path: "-".into(), why: error.to_string(), from: None })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Configuration, ConfigError> {
        Configuration::of(file::read_stdin(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_later_directive_wins() {
        let configuration = of("maxclients 10\nport 7000\nMAXCLIENTS 20\nbind 127.0.0.1 -::1").unwrap();
        let settings = configuration.settings;
        assert_eq!((settings.maxclients, settings.port), (20, 7000));
        assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_place_and_a_guess() {
        let error = of("port 1\n\nmaxclient 5").unwrap_err().to_string();
        for part in ["line 3", ">>> 'maxclient 5'", "Bad directive", "'maxclients'"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = of("qwertyuiop 5").unwrap_err().to_string();
        assert!(error.contains("check-config"), "{error}");
        assert!(of("port many").unwrap_err().to_string().contains(">>> 'port many'"));
    }

    #[test]
    fn what_has_no_effect_is_named_once() {
        let text = "appendfsync everysec\nappendfsync always\nport 1\ndaemonize yes\nsupervised no\npidfile /x";
        let warnings = of(text).unwrap().warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("No effect in standard input: appendfsync (line 1). Reason: every write"));
        assert!(
            warnings[1].contains(": daemonize (line 4), supervised (line 5), pidfile (line 6). Reason: the server")
        );
    }

    #[test]
    fn a_password_is_kept_as_its_hash() {
        let settings = of("requirepass one\nrequirepass two").unwrap().settings;
        let hash = settings.requirepass.clone().unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(of(&format!("requirepass {hash}")).unwrap().settings.requirepass, Some(hash));
        assert_eq!(of("requirepass \"\"").unwrap().settings.requirepass, None);
    }

    #[test]
    fn users_are_read_with_their_passwords_hashed() {
        let acl = of("user alice on >one ~a (+get ~b)\nuser default off").unwrap().settings.acl();
        let shown: Vec<String> = acl.users().map(|user| String::from_utf8(user.line()).unwrap()).collect();
        assert!(shown[0].starts_with("user alice on sanitize-payload #$argon2id$"), "{shown:?}");
        assert!(shown[0].ends_with(" ~a resetchannels -@all (~b resetchannels -@all +get)"), "{shown:?}");
        assert_eq!(shown[1], "user default off sanitize-payload resetchannels -@all");
        for (text, why) in [
            ("user a on\nuser a off", "Duplicate user"),
            ("user a foo >secret", "Syntax error"),
            ("user a (+get", "Unmatched parenthesis"),
            ("aclfile /nonexistent", "No such file"),
            ("user a on\naclfile /nonexistent", "not both"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn distances_count_letters() {
        assert_eq!((distance("port", "port"), distance("prt", "port"), distance("tropp", "port")), (0, 1, 4));
    }
}
