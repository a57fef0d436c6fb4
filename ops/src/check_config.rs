//! `cairn check-config FILE`: reads a file as a start would, and says what would become of it.

use crate::config::{Configuration, is_secret};
use crate::say;
use cairn_core::settings::{self, Role};
use std::path::Path;
use std::process::ExitCode;

pub fn run(path: &Path) -> ExitCode {
    match Configuration::of_file(path) {
        Ok(configuration) => {
            let mut report = String::new();
            for warning in &configuration.warnings {
                report += &format!("note: {warning}\n");
            }
            let acts = |name| settings::parameter(name).is_some_and(|known| matches!(known.role, Role::Acts(_)));
            for (name, value) in configuration.settings.changed().into_iter().filter(|(name, _)| acts(name)) {
                let value = if is_secret(name) { "(hidden)" } else { value };
                report += &format!("set:  {name} = {value}\n");
            }
            say(&format!("{report}{} is valid\n", path.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
