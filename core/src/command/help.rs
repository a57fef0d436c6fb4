//! HELP of every container: made of the command table, so that it cannot disagree with it.

use super::args::Args;
use super::{Call, Flow, Spec};
use crate::command::table;
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::resp::encode::Reply;

/// The lines of a container's help, in the form that Redis gives them.
pub fn lines(container: &Spec) -> Vec<String> {
    let name = container.name.to_ascii_uppercase();
    let mut out = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for spec in container.subcommands {
        let (_, short) = spec.name.split_once('|').expect("a subcommand's name has a bar");
        if short == "help" {
            continue;
        }
        let space = if spec.synopsis.is_empty() { "" } else { " " };
        out.push(format!("{}{space}{}", short.to_ascii_uppercase(), spec.synopsis));
        out.push(format!("    {}", spec.summary));
    }
    out.push("HELP".to_owned());
    out.push("    Prints this help.".to_owned());
    out
}

/// What a container answers when there is no such subcommand.
#[cold]
pub fn unknown_subcommand(container: &Spec, args: &Args<'_>) -> Refusal {
    let name = args.get(1).unwrap_or_default();
    let container = container.name.to_ascii_uppercase();
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    Refusal::text(format!("ERR unknown subcommand '{name}'. Try {container} HELP."))
}

/// What a container answers when a subcommand looks at its arguments itself and finds too few or too many.
pub fn wrong_subcommand(call: &Call<'_>) -> Refusal {
    let name = call.args.get(1).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    let container = call.spec.name.split('|').next().unwrap_or_default().to_ascii_uppercase();
    Refusal::text(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."))
}

/// Runs `x|help`.
pub fn help(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (container, _) = call.spec.name.split_once('|').expect("a subcommand's name has a bar");
    let container =
        table::FAMILIES.iter().copied().flatten().find(|spec| spec.name == container).expect("it is in the table");
    let lines = lines(container);
    reply.array(lines.len());
    for line in &lines {
        reply.simple(line);
    }
    Ok(Flow::Done)
}
