//! Debian's control files: paragraphs of `Key: value`, continued by indented lines
//! (`deb822(5)`). Borrows from its input; lines that are neither are counted, not fatal.

/// Fields of one paragraph that are kept.
const FIELDS_MAX: usize = 256;

/// One paragraph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a [u8], &'a [u8])>,
    /// Lines that are no field and continue none, and fields beyond the limit.
    pub n_bad_lines: usize,
}

impl<'a> Paragraph<'a> {
    /// The first line of a field, without blanks around it. Names have no case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) =
            self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(value)
    }

    /// The first lines of all fields of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named =
            self.fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value)
    }

    /// As [`Paragraph::get`], as text; invalid UTF-8 is replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Whether nothing was in it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.n_bad_lines == 0
    }
}

/// The paragraphs of `bytes`, one at a time.
pub fn paragraphs(bytes: &[u8]) -> impl Iterator<Item = Paragraph<'_>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let mut paragraph = Paragraph::default();
        loop {
            let Some(line) = lines.next() else {
                return (!paragraph.is_empty()).then_some(paragraph);
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match line.first() {
                None if paragraph.is_empty() => {}
                None => return Some(paragraph),
                Some(b'#') => {}
                Some(b' ' | b'\t') => {
                    if paragraph.fields.is_empty() && !line.trim_ascii().is_empty() {
                        paragraph.n_bad_lines += 1;
                    }
                }
                Some(_) => match line.iter().position(|byte| *byte == b':') {
                    Some(colon) if colon > 0 && paragraph.fields.len() < FIELDS_MAX => {
                        let (key, value) = (&line[..colon], line[colon + 1..].trim_ascii());
                        paragraph.fields.push((key, value));
                    }
                    _ => paragraph.n_bad_lines += 1,
                },
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paragraphs() {
        let text =
            b"\n\nPackage: a\nVersion:1\nDescription: x\n y: z\n .\n\n\nPackage: b\r\nnonsense\n";
        let all: Vec<Paragraph<'_>> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].text("package").unwrap(), "a");
        assert_eq!(all[0].text("Version").unwrap(), "1");
        assert_eq!(all[0].get("y"), None);
        assert_eq!(all[1].text("Package").unwrap(), "b");
        assert_eq!(all[1].n_bad_lines, 1);
        assert_eq!(paragraphs(b"").count(), 0);
    }

    #[test]
    fn fields_are_bounded() {
        let lines: Vec<String> = (0..FIELDS_MAX + 5).map(|n| format!("F{n}: x")).collect();
        let text = lines.join("\n");
        let first = paragraphs(text.as_bytes()).next().unwrap();
        assert_eq!(first.n_bad_lines, 5);
    }
}
