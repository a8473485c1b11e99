//! A shell script → its simple commands, as far as checks need them.
//!
//! Quotes, escapes, comments, separators, pipes, redirections, subshells and substitutions
//! are understood (POSIX.1-2017, Shell Command Language, chapter 2); functions, here-documents
//! within scripts and arithmetic are not. Expansion does not happen: `$X` stays.

/// Commands of one script; those beyond are not looked at.
pub const COMMANDS_MAX: usize = 10_000;

/// How a command gets what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// On its own.
    #[default]
    Alone,
    /// The command before it is piped into it.
    Pipe,
    /// It is a substitution within the command before it: `$(…)`, `` `…` ``, `<(…)`.
    Substitution,
}

/// A simple command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Words without quotes, assignments first; redirections left out.
    pub words: Vec<String>,
    /// How it came about.
    pub origin: Origin,
    /// Offset of its first word in the script, in bytes.
    pub offset: usize,
}

/// Programs that execute what they read.
const SHELLS: [&str; 13] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "python", "python3", "perl", "ruby", "node", "php",
    "busybox",
];

/// Whether `program`, a path or a name, executes what it reads.
pub fn is_shell(program: &str) -> bool {
    SHELLS.contains(&base_name(program))
}

/// The last part of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl Command {
    /// A command of these words.
    pub fn of(words: Vec<String>) -> Self {
        Self { words, ..Self::default() }
    }

    /// The words after assignments, keywords and programs that start another (`sudo`, `env`).
    pub fn effective(&self) -> &[String] {
        let skipped = |word: &str| {
            let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            is_assignment
                || matches!(
                    base_name(word),
                    "sudo"
                        | "env"
                        | "exec"
                        | "command"
                        | "time"
                        | "nice"
                        | "nohup"
                        | "eatmydata"
                        | "if"
                        | "then"
                        | "else"
                        | "elif"
                        | "do"
                        | "while"
                        | "until"
                        | "!"
                        | "{"
                )
        };
        let mut words = self.words.as_slice();
        let mut after_wrapper = false;
        while let [first, rest @ ..] = words {
            // The options of `sudo -E`, `env -i`.
            let is_option = after_wrapper && first.starts_with('-');
            if !skipped(first) && !is_option {
                break;
            }
            after_wrapper = true;
            words = rest;
        }
        words
    }

    /// The program's name without its folder; empty if there is none.
    pub fn program(&self) -> &str {
        self.effective().first().map_or("", |word| base_name(word))
    }

    /// The program's arguments.
    pub fn arguments(&self) -> &[String] {
        self.effective().get(1..).unwrap_or_default()
    }

    /// Whether an argument is this word.
    pub fn has(&self, word: &str) -> bool {
        self.arguments().iter().any(|argument| argument == word)
    }

    /// Whether one of the words is among the arguments.
    pub fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.has(word))
    }

    /// Whether a short option is among the arguments, in a bundle too: `k` of `-sSkL`.
    pub fn has_short(&self, option: char) -> bool {
        self.arguments().iter().any(|argument| {
            let bundle = argument.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
            bundle.is_some_and(|rest| {
                rest.chars().take_while(char::is_ascii_alphanumeric).any(|c| c == option)
            })
        })
    }

    /// The first argument that is no option.
    pub fn verb(&self) -> &str {
        let first = self.arguments().iter().find(|argument| !argument.starts_with('-'));
        first.map_or("", String::as_str)
    }

    /// The command on one line.
    pub fn shown(&self) -> String {
        self.words.join(" ")
    }
}

struct Splitter {
    commands: Vec<Command>,
    current: Command,
    word: Option<String>,
    /// The next word is the target of a redirection.
    redirected: bool,
    next_origin: Origin,
}

/// The simple commands of `script`, in the order in which they stand.
pub fn commands(script: &str) -> Vec<Command> {
    let mut splitter = Splitter {
        commands: Vec::new(),
        current: Command::default(),
        word: None,
        redirected: false,
        next_origin: Origin::Alone,
    };
    splitter.run(script);
    splitter.commands
}

impl Splitter {
    fn run(&mut self, script: &str) {
        let mut chars = script.char_indices().peekable();
        let mut in_double = false;
        // Whether double quotes were open around each substitution that is not closed yet.
        let mut around: Vec<bool> = Vec::new();
        let mut in_ticks: Option<bool> = None;
        while let Some((at, c)) = chars.next() {
            if self.commands.len() >= COMMANDS_MAX {
                return;
            }
            let next = chars.peek().map(|(_, c)| *c);
            match c {
                '\\' => {
                    if let Some((_, escaped)) = chars.next().filter(|(_, c)| *c != '\n') {
                        if in_double && !matches!(escaped, '"' | '\\' | '$' | '`') {
                            self.push(at, '\\');
                        }
                        self.push(at, escaped);
                    }
                }
                '\'' if !in_double => {
                    self.begin_word(at);
                    for (_, quoted) in chars.by_ref() {
                        if quoted == '\'' {
                            break;
                        }
                        self.push(at, quoted);
                    }
                }
                '"' => {
                    in_double = !in_double;
                    self.begin_word(at);
                }
                '$' if next == Some('(') => {
                    chars.next();
                    around.push(std::mem::take(&mut in_double));
                    self.end_command(Origin::Substitution);
                }
                '`' => {
                    if let Some(outside) = in_ticks.take() {
                        in_double = outside;
                        self.end_command(Origin::Alone);
                    } else {
                        in_ticks = Some(std::mem::take(&mut in_double));
                        self.end_command(Origin::Substitution);
                    }
                }
                '<' | '>' if !in_double && next == Some('(') => {
                    chars.next();
                    around.push(false);
                    self.end_command(Origin::Substitution);
                }
                _ if in_double => self.push(at, c),
                '(' => {
                    around.push(false);
                    self.end_command(Origin::Alone);
                }
                ')' => {
                    in_double = around.pop().unwrap_or_default();
                    self.end_command(Origin::Alone);
                }
                '#' if self.word.is_none() => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
                '|' => {
                    let is_or = chars.next_if(|(_, c)| *c == '|').is_some();
                    // `|&` pipes the error stream as well.
                    let _ = chars.next_if(|(_, c)| !is_or && *c == '&');
                    self.end_command(if is_or { Origin::Alone } else { Origin::Pipe });
                }
                '>' | '<' => {
                    // A number before it is a descriptor.
                    if self.word.as_deref().is_some_and(|w| w.chars().all(|c| c.is_ascii_digit())) {
                        self.word = None;
                    }
                    self.end_word();
                    while chars.next_if(|(_, c)| matches!(c, '>' | '<' | '&' | '-')).is_some() {}
                    self.redirected = true;
                }
                ';' | '&' | '\n' => self.end_command(Origin::Alone),
                c if c.is_whitespace() => self.end_word(),
                c => self.push(at, c),
            }
        }
        self.end_command(Origin::Alone);
    }

    fn begin_word(&mut self, at: usize) {
        if self.word.is_none() {
            self.word = Some(String::new());
            if self.current.words.is_empty() {
                self.current.offset = at;
            }
        }
    }

    fn push(&mut self, at: usize, c: char) {
        self.begin_word(at);
        if let Some(word) = &mut self.word {
            word.push(c);
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.redirected)
        {
            self.current.words.push(word);
        }
    }

    fn end_command(&mut self, next: Origin) {
        self.end_word();
        self.redirected = false;
        let mut command = std::mem::take(&mut self.current);
        // What a separator began without words (`&&` has two) keeps its origin.
        if command.words.iter().all(String::is_empty) {
            if next != Origin::Alone {
                self.next_origin = next;
            }
            return;
        }
        command.origin = std::mem::replace(&mut self.next_origin, next);
        self.commands.push(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(script: &str, expected: &[&str]) {
        let shown: Vec<String> = commands(script)
            .iter()
            .map(|command| {
                let mark = match command.origin {
                    Origin::Alone => "",
                    Origin::Pipe => "| ",
                    Origin::Substitution => "$ ",
                };
                format!("{mark}{}", command.words.join("·"))
            })
            .collect();
        assert_eq!(shown, expected, "{script}");
    }

    #[test]
    fn scripts_are_split() {
        check("a b && c || d; e & f", &["a·b", "c", "d", "e", "f"]);
        check("a 'b c' \"d $e\" f\\ g", &["a·b c·d $e·f g"]);
        check("curl -sSL u | sudo bash -s -- x", &["curl·-sSL·u", "| sudo·bash·-s·--·x"]);
        check("sh -c \"$(curl -fsSL u)\"", &["sh·-c·", "$ curl·-fsSL·u"]);
        check("bash <(wget -qO- u)", &["bash", "$ wget·-qO-·u"]);
        check("a > /dev/null 2>&1 <x b", &["a·b"]);
        check("a # not | this\nb#c", &["a", "b#c"]);
        check("(a; b) | c", &["a", "b", "| c"]);
        check("a \\\n b", &["a·b"]);
        check("'", &[]);
        check("x=`curl -k u` y", &["x=", "$ curl·-k·u", "y"]);
        check("", &[]);
    }

    #[test]
    fn the_program_is_found_behind_what_starts_it() {
        let program = |text: &str| commands(text)[0].program().to_string();
        assert_eq!(
            program("DEBIAN_FRONTEND=noninteractive sudo -E /usr/bin/apt-get update"),
            "apt-get"
        );
        assert_eq!(program("if ! curl x"), "curl");
        assert_eq!(program("X=1"), "");
        let command = &commands("curl -sSkL --fail u")[0];
        assert!(command.has_short('k') && !command.has_short('f') && command.verb() == "u");
        assert_eq!(commands("  a; b ")[1].offset, 5);
    }

    #[test]
    fn commands_are_bounded() {
        assert_eq!(commands(&"a;".repeat(COMMANDS_MAX + 5)).len(), COMMANDS_MAX);
    }
}
