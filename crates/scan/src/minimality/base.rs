//! On which image an image was built.

use palisade_image::Image;
use palisade_model::Inventory;
use palisade_model::minimality::{BaseImage, Certainty};

use super::KnownBase;

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
