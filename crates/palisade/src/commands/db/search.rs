//! `palisade db search`: the advisories of an identifier or of a package.

use palisade_model::Severity;
use palisade_scan::db::{Advisory, Database, RangeEnd, ReadDatabaseError, Status};
use palisade_scan::ecosystem;
use serde::Serialize;

use super::super::explain::spellings;
use super::{Context, open};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// An advisory about one package.
#[derive(Debug, Serialize)]
struct Hit {
    ecosystem: String,
    package: String,
    id: String,
    aliases: Vec<String>,
    /// What a notice fixes.
    fixes: Vec<String>,
    severity: Severity,
    status: &'static str,
    /// The first version with the fix, of every range that has one.
    fixed: Vec<String>,
    feed: String,
    title: String,
}

/// Lists them.
pub(super) fn search(context: &Context<'_>, args: &cli::DbSearch) -> Result<Exit, Failure> {
    let database = open(context, args.db.as_ref())?;
    let mut hits = of_identifier(&database, &args.package).or_exit(Exit::Incomplete)?;
    if hits.is_empty() {
        hits = of_package(&database, &args.package).or_exit(Exit::Incomplete)?;
    }
    if args.format == ListFormat::Json {
        let document = serde_json::json!({
            "schema": "palisade.dev/advisory-search/v1",
            "query": args.package,
            "advisories": hits,
        });
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(Exit::Clean);
    }
    if hits.is_empty() {
        context.terminal.progress(&format!(
            "no advisory about `{}` (Debian's are filed under source packages: openssl, not libssl3)",
            args.package
        ));
        return Ok(Exit::Clean);
    }
    let rows: Vec<Vec<String>> = hits.iter().map(row).collect();
    let text = if args.format == ListFormat::Tsv {
        rows.iter().map(|row| row.join("\t") + "\n").collect::<String>()
    } else {
        let header = ["ECOSYSTEM", "PACKAGE", "ID", "SEVERITY", "FIXED IN", "TITLE"];
        columns(&header, &rows)
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// The advisories that an identifier names, in whatever case it is given.
fn of_identifier(database: &Database, id: &str) -> Result<Vec<Hit>, ReadDatabaseError> {
    let mut hits = Vec::new();
    for spelling in spellings(id) {
        for (ecosystem, package) in database.packages_of(&spelling)? {
            for advisory in database.advisories(&ecosystem, &package)? {
                let others = advisory.aliases.iter().chain(&advisory.fixes);
                if std::iter::once(&advisory.id).chain(others).any(|name| *name == spelling) {
                    hits.push(hit(&ecosystem, &package, advisory));
                }
            }
        }
        if !hits.is_empty() {
            break;
        }
    }
    Ok(hits)
}

/// The advisories of a package in every ecosystem.
fn of_package(database: &Database, package: &str) -> Result<Vec<Hit>, ReadDatabaseError> {
    let mut hits = Vec::new();
    for ecosystem in database.metadata().ecosystems.keys() {
        let name = ecosystem::normalise_name(ecosystem, package);
        let found = database.advisories(ecosystem, &name)?;
        hits.extend(found.into_iter().map(|advisory| hit(ecosystem, &name, advisory)));
    }
    Ok(hits)
}

fn hit(ecosystem: &str, package: &str, advisory: Advisory) -> Hit {
    let mut fixed: Vec<String> = Vec::new();
    for range in advisory.ranges {
        if let RangeEnd::Fixed(version) = range.end
            && !fixed.contains(&version)
        {
            fixed.push(version);
        }
    }
    Hit {
        ecosystem: ecosystem.to_string(),
        package: package.to_string(),
        id: advisory.id,
        aliases: advisory.aliases,
        fixes: advisory.fixes,
        severity: advisory.severity,
        status: advisory.status.as_str(),
        fixed,
        feed: advisory.feed,
        title: advisory.title,
    }
}

fn row(hit: &Hit) -> Vec<String> {
    let fixed = match hit.status {
        status if status != Status::Affected.as_str() => status.to_string(),
        _ if hit.fixed.is_empty() => "-".to_string(),
        _ => hit.fixed.join(", "),
    };
    vec![
        hit.ecosystem.clone(),
        hit.package.clone(),
        hit.id.clone(),
        hit.severity.to_string(),
        fixed,
        [hit.title.clone(), hit.fixes.join(" ")].join(" ").trim().to_string(),
    ]
}
