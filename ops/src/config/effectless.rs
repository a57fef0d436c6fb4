//! Directives without effect, as the operator is told of them: a line a reason, each directive once.
//!
//! A whole redis.conf has some fifty of them for a dozen reasons.

use super::directive::{Directive, Origin};

/// Gathers them in the order in which they stand.
#[derive(Default)]
pub struct Effectless {
    groups: Vec<Group>,
    named: Vec<String>,
}

struct Group {
    /// The file, or what else they came from.
    place: String,
    reason: &'static str,
    names: Vec<String>,
}

impl Effectless {
    pub fn add(&mut self, directive: &Directive, reason: &'static str) {
        if self.named.contains(&directive.name) {
            return;
        }
        self.named.push(directive.name.clone());
        let (place, name) = match &directive.origin {
            Origin::File { path, line } => (path.display().to_string(), format!("{} (line {line})", directive.name)),
            Origin::Stdin { line } => ("standard input".into(), format!("{} (line {line})", directive.name)),
            Origin::Environment { variable } => ("the environment".into(), variable.clone()),
            Origin::CommandLine => ("the command line".into(), directive.name.clone()),
        };
        match self.groups.iter_mut().find(|group| group.reason == reason && group.place == place) {
            Some(group) => group.names.push(name),
            None => self.groups.push(Group { place, reason, names: vec![name] }),
        }
    }

    pub fn lines(self) -> impl Iterator<Item = String> {
        self.groups.into_iter().map(|Group { place, reason, names }| {
            format!("No effect in {place}: {}. Reason: {reason}", names.join(", "))
        })
    }
}
