//! `palisade version`.

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure};

/// Prints the version of the program.
pub(crate) fn version(context: &Context<'_>, args: &cli::Version) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let text = match args.format {
        ListFormat::Table => format!("palisade {version}\n"),
        ListFormat::Tsv => format!("palisade\t{version}\n"),
        ListFormat::Json => format!(
            "{}\n",
            serde_json::json!({
                "schema": "palisade.dev/version/v1",
                "name": "palisade",
                "version": version,
                "rules_engine": palisade_rules::ENGINE_VERSION.to_string(),
            })
        ),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}
