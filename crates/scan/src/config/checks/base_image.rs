//! Checks of what an image is based on, and as whom it runs.

use palisade_model::Severity;

use super::super::build::{Base, Build};
use super::super::reference;
use super::super::settings::{Container, Placed, Platform};
use super::{Check, DOCKERFILE_DOCS, Facts, Judge, Sink, shown};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "image-runs-as-root",
        id: "IMG-001",
        title: "the program runs as root",
        why: "Root in a container is one mistake of the kernel or of a mount away from root on the host.",
        fix: "add `USER` with an unprivileged number to the build",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(runs_as_root),
    },
    Check {
        name: "mutable-tag",
        id: "IMG-002",
        title: "the image is named by a tag that moves",
        why: "The same build gives another image tomorrow, and nobody sees the change.",
        fix: "name it by version and digest",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, facts, sink| {
            if let Some(image) = c.image.effective().filter(|_| facts.image.is_some()) {
                // A layout knows the tag alone.
                if image.rsplit(':').next() == Some("latest") {
                    let message = "the image is named by the tag `latest`, which moves";
                    sink.add_as(Severity::Low, c.place, message);
                }
                return;
            }
            for base in bases(c) {
                if reference::has_digest(&base.value) {
                    continue;
                }
                match reference::tag(&base.value) {
                    None => sink.add(
                        base.place,
                        format!("is based on {} without a tag", shown(&base.value)),
                    ),
                    Some("latest") => {
                        sink.add(base.place, format!("is based on {}", shown(&base.value)));
                    }
                    Some(_) => {}
                }
            }
        }),
    },
    Check {
        name: "base-not-pinned",
        id: "IMG-003",
        title: "the base image is not named by digest",
        why: "A tag can be moved to another image, by its owner or by whoever has the owner's password.",
        fix: "add the digest: `FROM name:tag@sha256:…`, and let a bot update it",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, _, sink| {
            for base in bases(c).filter(|base| !reference::has_digest(&base.value)) {
                sink.add(
                    base.place,
                    format!("is based on {} without a digest", shown(&base.value)),
                );
            }
        }),
    },
    Check {
        name: "base-registry",
        id: "IMG-004",
        title: "the base image comes from a registry that is not allowed",
        why: "Images of unknown origin were not built, scanned or signed by anybody you know.",
        fix: "use a base of an allowed registry, or add the registry to `checks.registries` of the policy",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(|c, facts, sink| {
            for base in bases(c).filter(|_| !facts.registries.is_empty()) {
                if !reference::is_allowed(&base.value, facts.registries) {
                    let message =
                        format!("is based on {} of no allowed registry", shown(&base.value));
                    sink.add(base.place, message);
                }
            }
        }),
    },
    Check {
        name: "image-old",
        id: "IMG-030",
        title: "the image was built long ago",
        why: "An image gets no fixes unless it is built anew.",
        fix: "build it anew on a current base",
        references: &[DOCKERFILE_DOCS],
        judge: Judge::Container(too_old),
    },
];

/// The images that stages are based on, and those that files are copied from.
fn bases(c: &Container) -> impl Iterator<Item = Placed<String>> {
    let stages = c.build.iter().flat_map(|build| &build.stages);
    let from = stages.filter_map(|stage| match stage.base.as_ref() {
        Some(Placed { value: Base::Image(name), place }) => Some(Placed::new(name.clone(), *place)),
        _ => None,
    });
    let copied = c.build.iter().flat_map(copied_images);
    from.chain(copied)
}

/// `COPY --from=image` names an image where it names no stage.
fn copied_images(build: &Build) -> Vec<Placed<String>> {
    let named = |name: &str| build.stages.iter().any(|stage| stage.name.as_deref() == Some(name));
    build
        .instructions()
        .filter(|i| i.keyword == "COPY")
        .filter_map(|i| Some(Placed::new(i.flag("from")?.to_string(), i.place)))
        .filter(|from| {
            let name = from.value.to_ascii_lowercase();
            !name.is_empty() && name.parse::<u32>().is_err() && !name.contains('$') && !named(&name)
        })
        .collect()
}

fn runs_as_root(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    if !matches!(c.platform, Platform::Dockerfile | Platform::Image) {
        return;
    }
    match c.user.effective() {
        None if c.platform == Platform::Dockerfile && starts_unprivileged(c) => {}
        None => sink.add(c.place, "the program runs as root (no `USER` is set)"),
        Some(user) if user.is_root() => {
            let place = c.user.place_or(c.place);
            sink.add(place, format!("the program runs as root (`USER {}`)", shown(&user.name)));
        }
        Some(_) => {}
    }
}

/// Whether the base says by its tag that it does not run as root.
fn starts_unprivileged(c: &Container) -> bool {
    let lineage = c.build.as_ref().map(Build::lineage).unwrap_or_default();
    lineage.first().and_then(|stage| stage.base.as_ref()).is_some_and(|base| match &base.value {
        Base::Image(name) => reference::tag(name).is_some_and(|tag| tag.contains("nonroot")),
        // What a build argument chooses may be anything.
        Base::Unknown(_) => true,
        Base::Scratch | Base::Stage(_) => false,
    })
}

/// Images older than this many days have missed a year of fixes.
const AGE_DAYS_MAX: u64 = 365;
/// 2013-01-01: there are no older container images.
const PLAUSIBLE_NANOS_MIN: u64 = 1_356_998_400_000_000_000;

fn too_old(c: &Container, facts: &Facts<'_>, sink: &mut Sink) {
    let Some(image) = facts.image else { return };
    let Some(created) =
        image.created.and_then(|text| text.parse::<palisade_base::Timestamp>().ok())
    else {
        return;
    };
    // Reproducible builds date images to 1970 or 1980; that says nothing.
    let plausible = created.as_nanos() > PLAUSIBLE_NANOS_MIN;
    let days = image.now.since(created).as_secs() / 86_400;
    if plausible && days > AGE_DAYS_MAX {
        sink.add_as(Severity::Low, c.place, format!("the image was built {days} days ago"));
    }
}
