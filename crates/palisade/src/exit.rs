//! How the program ends: one documented number, and one form of error.

use std::error::Error;
use std::fmt;

use palisade_base::{Explain, render_chain};

/// The exit code of the program.
///
/// A gate that could not be evaluated is [`Exit::Incomplete`], never [`Exit::Clean`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, and nothing objects.
    Clean = 0,
    /// A gate, a signature check or a policy says no.
    Refused = 1,
    /// The command line, a policy, a rule file or the configuration is wrong.
    Usage = 2,
    /// The work could not be completed.
    Incomplete = 3,
    /// Completed in part: what is missing was named.
    Partial = 4,
    /// The network or a registry failed, so that it is not known whether a signature is good:
    /// neither an acceptance nor a refusal, and worth another try.
    Network = 5,
}

/// An error on its way to the terminal, or the exit code of a program in a container.
pub(crate) struct Failure {
    code: u8,
    /// `None`: a program has said itself what was to be said.
    error: Option<anyhow::Error>,
    hint: Option<String>,
}

impl Failure {
    /// A failure that is only a message.
    pub(crate) fn message(exit: Exit, message: impl fmt::Display) -> Self {
        Self { code: exit as u8, error: Some(anyhow::anyhow!("{message}")), hint: None }
    }

    /// An error of a library, with its own hint.
    pub(crate) fn from_explained<E>(error: E, exit: Exit) -> Self
    where
        E: Explain + Error + Send + Sync + 'static,
    {
        let hint = error.hint();
        Self { code: exit as u8, error: Some(error.into()), hint }
    }

    /// The end of a program in a container; its exit code becomes ours, zero included.
    pub(crate) fn program(code: u8) -> Self {
        Self { code, error: None, hint: None }
    }

    /// Ends with a code that is none of ours: what shells say of a program that cannot be started.
    pub(crate) fn ending_with(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The code that the program ends with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Adds what the user can do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the user can do about it, unless the error said so itself.
    pub(crate) fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_string());
        self
    }

    /// Says what was being done.
    pub(crate) fn during(mut self, what: String) -> Self {
        self.error = self.error.map(|error| error.context(what));
        self
    }

    /// The error and its causes in one line.
    pub(crate) fn brief(&self) -> String {
        self.error.as_ref().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    /// What the terminal shows.
    pub(crate) fn render(&self) -> String {
        match &self.error {
            Some(error) => render_chain(error.as_ref(), self.hint.as_deref()),
            None => String::new(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: Exit::Incomplete as u8, error: Some(error), hint: None }
    }
}

/// Gives an error of a library its exit code; the hint comes along.
pub(crate) trait OrExit<T> {
    /// Ends with `exit` on an error.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E> OrExit<T> for Result<T, E>
where
    E: Explain + Error + Send + Sync + 'static,
{
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_explained(error, exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_documentation() {
        let codes = [
            Exit::Clean,
            Exit::Refused,
            Exit::Usage,
            Exit::Incomplete,
            Exit::Partial,
            Exit::Network,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_hint_is_the_last_line() {
        let failure = Failure::message(Exit::Usage, "no key given").with_hint("use --key FILE");
        assert_eq!(failure.render(), "error: no key given\nhint: use --key FILE\n");
    }
}
