//! `cairn check-config FILE`: reads a file as a start would, and says what would become of it.

use crate::config::Configuration;
use std::path::Path;
use std::process::ExitCode;

pub fn run(path: &Path) -> ExitCode {
    match Configuration::of_file(path) {
        Ok(configuration) => {
            for warning in &configuration.warnings {
                println!("note: {warning}");
            }
            for (name, value) in configuration.settings.changed() {
                let value = if name == "requirepass" { "(hidden)" } else { value };
                println!("set:  {name} = {value}");
            }
            println!("{} is valid", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
