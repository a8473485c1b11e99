//! On which image an image was built.

use palisade_image::Image;
use palisade_model::Inventory;
use palisade_model::minimality::{BaseImage, Certainty};

use super::{KnownBase, Lifecycles};

/// Text of labels and variables is cut here, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// Build steps that are looked at.
const STEPS_MAX: usize = 1_000;

/// Variables that official images set, and the name of the image.
const VARIABLES: [(&str, &str); 8] = [
    ("PYTHON_VERSION", "python"),
    ("NODE_VERSION", "node"),
    ("GOLANG_VERSION", "golang"),
    ("RUBY_VERSION", "ruby"),
    ("PHP_VERSION", "php"),
    ("NGINX_VERSION", "nginx"),
    ("RUST_VERSION", "rust"),
    ("JAVA_VERSION", "eclipse-temurin"),
];

/// The base, by the best evidence there is: layers in common with a known image, labels, then
/// what builders leave behind.
pub(super) fn recognise(
    image: &Image,
    inventory: &Inventory,
    bases: &[KnownBase],
) -> Option<BaseImage> {
    by_layers(image, bases)
        .or_else(|| by_labels(image))
        .or_else(|| by_variables(image, inventory))
        .or_else(|| by_history(image, inventory))
}

/// The known image with most layers in common: all of its own, from the lowest on.
fn by_layers(image: &Image, bases: &[KnownBase]) -> Option<BaseImage> {
    let is_below = |base: &&KnownBase| {
        let n = base.diff_ids.len();
        n > 0
            && n <= image.layers.len()
            && base.diff_ids.iter().zip(&image.layers).all(|(id, layer)| *id == layer.diff_id)
    };
    let found = bases.iter().filter(is_below).max_by_key(|base| base.diff_ids.len())?;
    let n = found.diff_ids.len();
    Some(BaseImage {
        name: found.name.clone(),
        certainty: Certainty::Proven,
        evidence: format!("its {n} layers are the lowest {n} of the image"),
        n_layers: Some(n as u64),
    })
}

/// The annotations of the image specification, which builders write as labels.
fn by_labels(image: &Image) -> Option<BaseImage> {
    let label = |key: &str| {
        let value = image.config.labels.get(&format!("org.opencontainers.image.base.{key}"))?;
        Some(cut(value)).filter(|value| !value.is_empty())
    };
    let (name, digest) = (label("name"), label("digest"));
    let shown = match (name, digest) {
        (Some(name), Some(digest)) => format!("{name}@{digest}"),
        (Some(name), None) => name,
        (None, Some(digest)) => digest,
        (None, None) => return None,
    };
    Some(BaseImage {
        name: shown,
        certainty: Certainty::Stated,
        evidence: "the labels org.opencontainers.image.base.*".into(),
        n_layers: None,
    })
}

fn by_variables(image: &Image, inventory: &Inventory) -> Option<BaseImage> {
    let (variable, name, version) = VARIABLES.iter().find_map(|(variable, name)| {
        let entry = image.config.env.iter().find_map(|entry| {
            entry.strip_prefix(variable).and_then(|rest| rest.strip_prefix('='))
        })?;
        Some((*variable, *name, cut(entry)))
    })?;
    let system = inventory.distribution.as_ref().map(|d| format!(" on {}", d.name));
    Some(BaseImage {
        name: format!("{name}:{version}{}", system.unwrap_or_default()),
        certainty: Certainty::Guess,
        evidence: format!("the variable {variable}, which its builders set"),
        n_layers: None,
    })
}

fn by_history(image: &Image, inventory: &Inventory) -> Option<BaseImage> {
    let distribution = inventory.distribution.as_ref()?;
    if distribution.name.contains("Distroless") {
        return Some(BaseImage {
            name: format!("gcr.io/distroless on Debian {}", distribution.version_id),
            certainty: Certainty::Guess,
            evidence: "the name in os-release".into(),
            n_layers: None,
        });
    }
    let steps = image.config.history.iter().take(STEPS_MAX);
    let first = steps.filter(|step| !step.empty_layer).find_map(|step| step.created_by.as_deref());
    let evidence = match first {
        Some(step) if step.contains("debuerreotype") => "the first layer is debuerreotype's",
        Some(step) if step.contains("ADD file:") || step.contains("ADD rootfs") => {
            "the first layer adds a whole root file system"
        }
        _ if !image.is_folder() => "os-release; the history says nothing of it",
        _ => return None,
    };
    let tag = match distribution.version_id.as_str() {
        "" => distribution.codename.as_str(),
        version => version,
    };
    let name =
        if tag.is_empty() { distribution.id.clone() } else { format!("{}:{tag}", distribution.id) };
    Some(BaseImage {
        name,
        certainty: Certainty::Guess,
        evidence: evidence.into(),
        n_layers: first.map(|_| 1).filter(|_| evidence.starts_with("the first layer")),
    })
}

fn cut(text: &str) -> String {
    crate::report::printable(text.trim()).chars().take(TEXT_CHARS_MAX).collect()
}

/// Products of the table of lifecycles that images have other names for.
const PRODUCTS: [(&str, &str); 4] =
    [("node", "nodejs"), ("golang", "go"), ("eclipse-temurin", "java"), ("rockylinux", "rocky")];

/// Tags that may be newer than that of the base `name`, and the name itself: its tag may have
/// moved on. `debian:12-slim` gives `debian:13-slim` as well, `python:3.11.4` gives `python:3.11`
/// and the newest line that gets fixes on `today` (`2026-01-31`).
pub fn newer_tags(name: &str, lifecycles: &Lifecycles, today: &str) -> Vec<String> {
    // What a guess says of the system, and a digest, which names the old one.
    let name = name.split([' ', '@']).next().unwrap_or_default();
    let mut found = vec![name.to_string()];
    let after_path = name.rfind('/').map_or(0, |at| at + 1);
    let Some((last, tag)) = name.get(after_path..).and_then(|last| last.split_once(':')) else {
        return found;
    };
    let repository = name.get(..after_path + last.len()).unwrap_or_default();
    let (version, variant) = tag.split_at(tag.find('-').unwrap_or(tag.len()));
    let Some(numbers) = numbers(version) else { return found };
    let product = PRODUCTS.iter().find_map(|(image, product)| (*image == last).then_some(*product));
    let product = product.unwrap_or(last);
    let lines = lifecycles.rows().filter(|(known, ..)| *known == product);
    let mut lines: Vec<(Vec<u32>, &str, &str)> =
        lines.filter_map(|(_, line, end)| Some((self::numbers(line)?, line, end))).collect();
    lines.sort();
    let own = lines.iter().rev().find(|(line, ..)| numbers.starts_with(line));
    let newest = lines.iter().rev().find(|(_, _, end)| *end >= today);
    let newer = newest.filter(|(line, ..)| own.is_some_and(|(own, ..)| line > own));
    for (_, line, _) in own.into_iter().chain(newer) {
        let candidate = format!("{repository}:{line}{variant}");
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

/// `3.11` as numbers; none where it is no version.
fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_tags_are_of_the_same_kind() {
        let table = Lifecycles::parse(
            "# as of 2026-01-01\ndebian\t12\t2028-06-30\t-\ndebian\t13\t2030-06-30\t-\n\
             debian\t9\t2022-06-30\t-\npython\t3.9\t2025-10-31\t-\npython\t3.11\t2027-10-31\t-\n\
             python\t3.14\t2030-10-31\t-\npython\t3.15\t2020-01-01\t-\nnodejs\t22\t2027-04-30\t-\n\
             nodejs\t24\t2028-04-30\t-\n",
        )
        .unwrap();
        let check = |name: &str, expected: &[&str]| {
            assert_eq!(newer_tags(name, &table, "2026-01-31"), expected, "{name}");
        };
        check("debian:12", &["debian:12", "debian:13"]);
        check("debian:12-slim", &["debian:12-slim", "debian:13-slim"]);
        check("debian:13", &["debian:13"]);
        check(
            "docker.io/library/debian:12@sha256:00",
            &["docker.io/library/debian:12", "docker.io/library/debian:13"],
        );
        check("python:3.11.4 on Debian 12", &["python:3.11.4", "python:3.11", "python:3.14"]);
        check(
            "host:5000/node:22-alpine",
            &["host:5000/node:22-alpine", "host:5000/node:24-alpine"],
        );
        // Of what is no version, or no product of the table, nothing is known.
        check("debian:bookworm", &["debian:bookworm"]);
        check("debian:99", &["debian:99"]);
        check("host:5000/acme/base:1", &["host:5000/acme/base:1"]);
        check("host:5000/acme", &["host:5000/acme"]);
        check("", &[""]);
    }
}
