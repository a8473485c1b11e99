//! How an image is built: stages of instructions, from a Dockerfile or from the history that
//! a builder left in an image.

use palisade_base::yaml::Place;

use super::settings::Placed;
use super::shell::{self, Command};

/// A build.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// Stages in order; the last one is the image.
    pub stages: Vec<Stage>,
    /// Whether it was read from an image's history: bases are then not known, and a step may
    /// come from the base image.
    pub is_history: bool,
    /// Build arguments and variables whose values the history of an image shows.
    pub shown: Vec<Placed<(String, String)>>,
}

/// A stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Base image, with variables expanded; `None` in a history.
    pub base: Option<Placed<Base>>,
    /// Instructions in order, `FROM` not among them.
    pub instructions: Vec<Instruction>,
    /// Where it begins.
    pub place: Place,
}

/// What a stage is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// An earlier stage, by index.
    Stage(usize),
    /// Nothing.
    Scratch,
    /// An image.
    Image(String),
    /// An image whose name depends on a build argument without a default.
    Unknown(String),
}

/// An instruction.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// Upper case: `RUN`.
    pub keyword: String,
    /// Where it begins.
    pub place: Place,
    /// Flags: `--from=build` is `("from", "build")`.
    pub flags: Vec<(String, String)>,
    /// Everything after keyword and flags, continuation lines joined.
    pub text: String,
    /// Where parts of `text` stand: offset in bytes, place.
    pub lines: Vec<(usize, Place)>,
    /// The words of the JSON form.
    pub exec: Option<Vec<String>>,
    /// Here-documents.
    pub heredocs: Vec<Heredoc>,
    /// Whether it is kept for images that are based on this one.
    pub is_onbuild: bool,
    /// What of `text` is known once variables are expanded: the words, each with whether all
    /// its variables are known. Of instructions that Docker expands.
    pub words: Vec<Word>,
}

/// A word of an instruction after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The characters; variables that are not known stand as written.
    pub text: String,
    /// Whether every variable was known.
    pub is_known: bool,
    /// Where it stands.
    pub place: Place,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// Its text.
    pub text: String,
    /// Where its first line stands.
    pub place: Place,
}

/// A command of a `RUN` instruction and where it stands.
#[derive(Debug, Clone)]
pub struct Step {
    /// The command.
    pub command: Command,
    /// Where it stands.
    pub place: Place,
}

/// Gives the places of offsets in a logical line, which only go forward: each character is
/// counted once, however many words a line has.
pub(super) struct Cursor<'a> {
    text: &'a str,
    lines: &'a [(usize, Place)],
    offset: usize,
    place: Place,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, lines: &'a [(usize, Place)]) -> Self {
        let place = lines.first().map_or(Place::START, |(_, place)| *place);
        Self { text, lines, offset: 0, place }
    }

    /// The place of the byte at `offset`, which is not before the last one.
    pub(super) fn at(&mut self, offset: usize) -> Place {
        while let [(start, place), rest @ ..] = self.lines {
            if *start > offset {
                break;
            }
            if *start >= self.offset {
                (self.offset, self.place) = (*start, *place);
            }
            self.lines = rest;
        }
        let between = self.text.get(self.offset..offset).unwrap_or_default();
        self.place.column += between.chars().count();
        self.offset = self.offset.max(offset);
        self.place
    }
}

impl Instruction {
    /// The value of a flag.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The commands that a `RUN`, `CMD` or `ENTRYPOINT` executes.
    pub fn commands(&self) -> Vec<Step> {
        let at_instruction = |command: Command| Step {
            command,
            place: self.lines.first().map_or(self.place, |l| l.1),
        };
        if let Some(words) = &self.exec {
            let script = match words.as_slice() {
                [shell, flag, script, ..]
                    if shell::is_shell(shell) && flag.starts_with('-') && flag.ends_with('c') =>
                {
                    script
                }
                _ => return vec![at_instruction(Command::of(words.clone()))],
            };
            return shell::commands(script).into_iter().map(at_instruction).collect();
        }
        let mut cursor = Cursor::new(&self.text, &self.lines);
        let mut steps: Vec<Step> = shell::commands(&self.text)
            .into_iter()
            .map(|command| Step { place: cursor.at(command.offset), command })
            .collect();
        let reads_script = steps.first().is_none_or(|step| {
            let program = step.command.program();
            program.is_empty() || shell::is_shell(program)
        });
        if reads_script {
            for heredoc in &self.heredocs {
                let (mut line, mut counted) = (heredoc.place.line, 0);
                for command in shell::commands(&heredoc.text) {
                    let between = heredoc.text.get(counted..command.offset).unwrap_or_default();
                    line += between.matches('\n').count();
                    counted = counted.max(command.offset);
                    steps.push(Step { command, place: Place { line, column: 1 } });
                }
            }
        }
        steps
    }
}

impl Build {
    /// The last stage, which is the image.
    pub fn last(&self) -> Option<&Stage> {
        self.stages.last()
    }

    /// The stages that the image consists of: the last one and those it is based on, the
    /// lowest first. Other stages only hand over files.
    pub fn lineage(&self) -> Vec<&Stage> {
        let mut found = Vec::new();
        let mut next = self.stages.len().checked_sub(1);
        while let Some(stage) = next.and_then(|index| self.stages.get(index)) {
            found.push(stage);
            // A stage is based on an earlier one, so this ends.
            next = match stage.base.as_ref().map(|base| &base.value) {
                Some(Base::Stage(index)) if Some(*index) < next => Some(*index),
                _ => None,
            };
        }
        found.reverse();
        found
    }

    /// The instructions of the image, lowest stage first, without those of `ONBUILD`.
    pub fn image_instructions(&self) -> impl Iterator<Item = &Instruction> {
        let stages = self.lineage().into_iter();
        stages.flat_map(|stage| &stage.instructions).filter(|i| !i.is_onbuild)
    }

    /// All instructions of all stages.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.stages.iter().flat_map(|stage| &stage.instructions)
    }
}
