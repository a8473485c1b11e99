//! Names and numbers of system calls on the machines that profiles are made for.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// A machine, as `uname -m` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// `x86_64`.
    X86_64,
    /// `aarch64`.
    Aarch64,
}

/// The table: one line a call.
const TABLE: &str = include_str!("../data/syscalls.tsv");

/// Both directions of one machine's column.
struct Column {
    by_name: HashMap<&'static str, u32>,
    by_number: BTreeMap<u32, &'static str>,
}

impl Machine {
    /// The machine of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    fn column(self) -> &'static Column {
        static COLUMNS: OnceLock<[Column; 2]> = OnceLock::new();
        let [x86, arm] = COLUMNS.get_or_init(|| [column(1), column(2)]);
        match self {
            Self::X86_64 => x86,
            Self::Aarch64 => arm,
        }
    }

    /// The number of the call `name`.
    pub fn number(self, name: &str) -> Option<u32> {
        self.column().by_name.get(name).copied()
    }

    /// The call of this number.
    pub fn call(self, number: u32) -> Option<&'static str> {
        self.column().by_number.get(&number).copied()
    }

    /// The name of a call, or `#NUMBER` for one that is newer than the table.
    pub fn name_of(self, number: u32) -> String {
        self.call(number).map_or_else(|| format!("#{number}"), str::to_string)
    }

    /// Every call, by number.
    pub fn calls(self) -> impl Iterator<Item = (u32, &'static str)> {
        self.column().by_number.iter().map(|(number, name)| (*number, *name))
    }
}

/// Whether some machine has the call `name`.
pub fn exists(name: &str) -> bool {
    [Machine::X86_64, Machine::Aarch64].iter().any(|machine| machine.number(name).is_some())
}

fn column(index: usize) -> Column {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| {
        let mut fields = line.split('\t');
        let name = fields.next()?;
        Some((name, fields.nth(index - 1)?.parse().ok()?))
    });
    let by_name: HashMap<&'static str, u32> = pairs.collect();
    let by_number = by_name.iter().map(|(name, number)| (*number, *name)).collect();
    Column { by_name, by_number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let check = |machine: Machine, name, number| {
            assert_eq!(machine.number(name), Some(number), "{name}");
            assert_eq!(machine.call(number), Some(name));
        };
        check(Machine::X86_64, "read", 0);
        check(Machine::X86_64, "openat2", 437);
        check(Machine::X86_64, "mseal", 462);
        check(Machine::Aarch64, "read", 63);
        check(Machine::Aarch64, "clone", 220);
        check(Machine::Aarch64, "futex_waitv", 449);
        assert_eq!(Machine::Aarch64.number("open"), None);
        assert_eq!(Machine::X86_64.name_of(9999), "#9999");
        assert!(exists("open") && !exists("opne"));
    }

    #[test]
    fn every_line_is_read_and_no_number_stands_twice() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let column = machine.column();
            assert_eq!(column.by_name.len(), column.by_number.len());
        }
        assert_eq!(Machine::X86_64.calls().count(), 383);
        assert_eq!(Machine::Aarch64.calls().count(), 325);
    }
}
