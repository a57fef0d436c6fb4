//! Parameters from the environment: `CAIRN_MAXCLIENTS=100` says what `maxclients 100` says in a file.
//!
//! Kubernetes puts `CAIRN_PORT=tcp://10.0.0.1:6379` and relatives into the environment of every container beside a
//! service named `cairn`. They are not meant for us and are left out.

use super::directive::{Directive, Origin};
use super::words;

/// The directives of these variables, in the order of their names, and the variables that name no known parameter.
pub fn read(
    variables: impl IntoIterator<Item = (String, String)>,
    is_known: impl Fn(&str) -> bool,
) -> (Vec<Directive>, Vec<String>) {
    let mut variables: Vec<(String, String)> =
        variables.into_iter().filter(|(name, _)| name.starts_with("CAIRN_")).collect();
    variables.sort();
    let mut directives = Vec::new();
    let mut unknown = Vec::new();
    for (variable, value) in variables {
        let name = variable["CAIRN_".len()..].to_ascii_lowercase().replace('_', "-");
        if !is_known(&name) || value.starts_with("tcp://") || value.starts_with("udp://") {
            unknown.push(variable);
            continue;
        }
        let origin = Origin::Environment { variable };
        let values = values(&name, value);
        directives.push(Directive { name, values, origin });
    }
    (directives, unknown)
}

/// A password is taken as it stands; everything else is split into words as a line of a file is.
fn values(name: &str, value: String) -> Vec<String> {
    if super::directive::is_secret(name) && name != "user" {
        return vec![value];
    }
    let words = words::split(value.as_bytes()).unwrap_or_else(|| vec![value.clone().into_bytes()]);
    let words: Option<Vec<String>> = words.into_iter().map(|word| String::from_utf8(word).ok()).collect();
    match words {
        Some(words) if !words.is_empty() => words,
        _ => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_directives() {
        let variables = [
            ("CAIRN_REQUIREPASS", "a \"b"),
            ("CAIRN_BIND", "127.0.0.1 ::1"),
            ("CAIRN_SAVE", ""),
            ("CAIRN_PORT", "tcp://10.0.0.1:6379"),
            ("CAIRN_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ];
        let known = ["requirepass", "bind", "save", "port"];
        let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
        let (directives, unknown) = read(variables, |name| known.contains(&name));
        let values: Vec<&[String]> = directives.iter().map(|directive| directive.values.as_slice()).collect();
        assert_eq!(
            values,
            [&["127.0.0.1".to_string(), "::1".to_string()][..], &["a \"b".to_string()], &[String::new()]]
        );
        assert_eq!(unknown, ["CAIRN_PORT", "CAIRN_SERVICE_HOST"]);
    }
}
