//! Dockerfiles and image configurations → containers.

use palisade_base::yaml::Place;
use palisade_image::ImageConfig;

use super::build::{Build, Instruction, Stage};
use super::dockerfile::{self, assignments};
use super::settings::{Container, Placed, Platform, Setting, User, Variable, VariableValue};

/// History steps beyond this number are not read.
pub const HISTORY_STEPS_MAX: usize = 1_000;
/// Where the configuration itself stands: before the first step of the history.
pub const CONFIGURATION: Place = Place { line: 0, column: 0 };

/// The container that a Dockerfile describes.
pub fn from_build(build: Build) -> Container {
    let place = build.last().map_or(Place::START, |stage| stage.place);
    let mut out = Container::new(Platform::Dockerfile, "image", place);
    for instruction in build.image_instructions() {
        take(&mut out, instruction);
    }
    out.healthcheck = std::mem::take(&mut out.healthcheck).or_default(false);
    // Arguments and environment of every stage: the build cache keeps them all.
    for instruction in build.instructions().filter(|i| !i.is_onbuild) {
        match instruction.keyword.as_str() {
            "ENV" => out.env.extend(variables(instruction)),
            "ARG" => out.env.extend(arguments(instruction)),
            _ => {}
        }
    }
    out.build = Some(build);
    out
}

/// Takes what an instruction says of the image; later ones win.
fn take(out: &mut Container, instruction: &Instruction) {
    let first = instruction.words.first();
    let placed = |word: &super::build::Word| Placed::new(word.text.clone(), word.place);
    match instruction.keyword.as_str() {
        "USER" => {
            if let Some(word) = first {
                let name = word.text.split(':').next().unwrap_or_default().to_string();
                out.user = Setting::Known(User { name }, word.place);
            }
        }
        "WORKDIR" => out.working_dir = Setting::from_placed(first.map(placed)),
        "EXPOSE" => out.exposed.extend(instruction.words.iter().map(placed)),
        "VOLUME" => out.volumes.extend(instruction.words.iter().map(placed)),
        "LABEL" => out.labels.extend(variables(instruction)),
        "HEALTHCHECK" => {
            let is_none = instruction.text.trim().eq_ignore_ascii_case("none");
            out.healthcheck = Setting::Known(!is_none, instruction.place);
        }
        _ => {}
    }
}

fn variables(instruction: &Instruction) -> Vec<Placed<Variable>> {
    let assigned = assignments(&instruction.words).into_iter();
    assigned
        .map(|(name, word)| {
            // What a build argument fills in is not known, and is judged where it comes in.
            let value = if word.is_known {
                VariableValue::Literal(word.text)
            } else {
                VariableValue::Literal(String::new())
            };
            Placed::new(Variable { name, value }, word.place)
        })
        .collect()
}

fn arguments(instruction: &Instruction) -> Vec<Placed<Variable>> {
    let words = instruction.words.iter();
    words
        .map(|word| {
            let (name, value) = match word.text.split_once('=') {
                Some((name, value)) if !value.is_empty() => {
                    (name, VariableValue::Literal(value.to_string()))
                }
                Some((name, _)) => (name, VariableValue::Elsewhere),
                None => (word.text.as_str(), VariableValue::Elsewhere),
            };
            Placed::new(Variable { name: name.to_string(), value }, word.place)
        })
        .collect()
}

/// The values of build arguments and variables in the history: `ARG NAME=value`,
/// `ENV NAME=value`, and what classic builders write before a command,
/// `|1 NAME=value /bin/sh -c …`.
fn shown_values(config: &ImageConfig) -> impl Iterator<Item = Placed<(String, String)>> {
    let steps = config.history.iter().take(HISTORY_STEPS_MAX).enumerate();
    steps.flat_map(|(index, step)| {
        let text = step.created_by.as_deref().unwrap_or_default();
        let text = text.trim_start_matches("/bin/sh -c #(nop)").trim_start();
        let words = ["ARG ", "ENV ", "RUN |", "|"].iter().find_map(|word| text.strip_prefix(word));
        let words = words.unwrap_or_default();
        let before_command = words.split(" /bin/").next().unwrap_or(words);
        let place = Place { line: index + 1, column: 1 };
        let pairs = before_command.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.map(move |(name, value)| {
            Placed::new((name.to_string(), value.trim_matches(['"', '\'']).to_string()), place)
        })
    })
}

/// The container that an image's configuration and history describe. Places are numbers of
/// steps; `name` is the tag or reference under which the image is known.
pub fn from_config(config: &ImageConfig, name: Option<&str>) -> Container {
    let mut out = Container::new(Platform::Image, "image", CONFIGURATION);
    let here = |text: &String| Placed::new(text.clone(), CONFIGURATION);
    let steps = config.history.iter().take(HISTORY_STEPS_MAX);
    let texts = steps.filter_map(|step| step.created_by.as_deref());
    let instructions: Vec<Instruction> = texts
        .enumerate()
        .filter_map(|(index, text)| dockerfile::parse_history_step(text, index + 1))
        .collect();
    let user = config.user.split(':').next().unwrap_or_default();
    if !user.is_empty() {
        out.user = Setting::Known(User { name: user.to_string() }, CONFIGURATION);
    }
    if let Some(name) = name {
        out.image = Setting::Known(name.to_string(), CONFIGURATION);
    }
    out.working_dir = Setting::Known(config.working_dir.clone(), CONFIGURATION);
    out.volumes = config.volumes.iter().map(here).collect();
    out.exposed = config.exposed_ports.iter().map(here).collect();
    out.healthcheck = match config.healthcheck.as_deref() {
        None | Some([]) => Setting::Default(false),
        Some([first, ..]) => Setting::Known(first != "NONE", CONFIGURATION),
    };
    let literal = |name: &str, value: &str| {
        let value = VariableValue::Literal(value.to_string());
        Placed::new(Variable { name: name.to_string(), value }, CONFIGURATION)
    };
    out.env = config
        .env
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| literal(name, value))
        .collect();
    out.labels = config.labels.iter().map(|(name, value)| literal(name, value)).collect();
    let stage = Stage { name: None, base: None, instructions, place: CONFIGURATION };
    // What is still in the environment is judged there.
    let shown = shown_values(config).filter(|shown| {
        let (name, value) = &shown.value;
        !config.env.iter().any(|set| set.split_once('=') == Some((name, value)))
    });
    out.build = Some(Build { stages: vec![stage], is_history: true, shown: shown.collect() });
    out
}
