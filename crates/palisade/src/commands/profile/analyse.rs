//! `palisade profile static`.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use palisade_image::{FileKind, Image, Visit};
use palisade_profile::analysis::{Analysis, Files, OBJECT_BYTES_MAX, analyse as examine};
use palisade_profile::syscalls::Machine;

use crate::cli;
use crate::commands::Context;
use crate::exit::{Exit, Failure, OrExit as _};

/// Bytes of an image's programs and libraries that are held.
const PROGRAMS_BYTES_MAX: u64 = 1 << 30;
/// Longest script whose first line is looked at.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;
/// Links that are followed to one file; the kernel's own bound.
const LINKS_MAX: usize = 40;
/// Where programs without a folder are looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Analyses programs.
pub(super) fn analyse(context: &Context<'_>, args: &cli::ProfileStatic) -> Result<Exit, Failure> {
    let is_file = Path::new(&args.target).is_file();
    let (mut files, programs): (Box<dyn Files>, Vec<String>) = if is_file {
        let path = std::path::absolute(&args.target)
            .map_err(|error| Failure::message(Exit::Usage, error))?;
        let mut programs = vec![path.to_string_lossy().into_owned()];
        programs.extend(args.program.iter().cloned());
        (Box::new(OwnFiles), programs)
    } else {
        let image = super::super::image::open(context, &args.target, &args.source)?;
        let files = ImageFiles::read_all(&image)?;
        let programs = programs(&image, &files, &args.program)?;
        (Box::new(files), programs)
    };
    let mut analysis = Analysis::default();
    for program in &programs {
        analysis.merge(examine(program, files.as_mut()).or_exit(Exit::Incomplete)?);
    }
    let name = args.name.clone().unwrap_or_else(|| {
        let first = programs.first().map_or("workload", String::as_str);
        first.rsplit('/').next().unwrap_or(first).to_string()
    });
    context.terminal.progress(&format!(
        "{name}: {} calls in {} objects, {} things unknown",
        analysis.calls.len(),
        analysis.objects.len(),
        analysis.unknown.len(),
    ));
    for what in &analysis.unknown {
        context.terminal.error(&format!("warning: {what}\n"));
    }
    let record = analysis.to_record(&name, Machine::X86_64);
    super::write(context, args.output.as_deref(), &record.to_json())?;
    Ok(if analysis.unknown.is_empty() { Exit::Clean } else { Exit::Partial })
}

/// The programs to examine: those named, else the image's entry point.
fn programs(image: &Image, files: &ImageFiles, named: &[String]) -> Result<Vec<String>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let config = &image.config;
    let Some(first) = config.entrypoint.first().or_else(|| config.cmd.first()) else {
        return Err(Failure::message(Exit::Usage, "the image has no entry point")
            .with_hint("name the program: --program PATH"));
    };
    if first.starts_with('/') {
        return Ok(vec![first.clone()]);
    }
    let path = config.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    path.unwrap_or(PATH)
        .split(':')
        .map(|folder| format!("{}/{first}", folder.trim_end_matches('/')))
        .find(|path| files.find(path).is_some())
        .map(|path| vec![path])
        .ok_or_else(|| {
            Failure::message(
                Exit::Incomplete,
                format!("the entry point `{first}` is not in the image"),
            )
            .with_hint("name the program: --program PATH")
        })
}

/// The files of this machine.
struct OwnFiles;

impl Files for OwnFiles {
    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        let file = std::fs::File::open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        palisade_base::read_bounded(file, "program", OBJECT_BYTES_MAX).ok()
    }
}

/// Programs, libraries and links of an image.
struct ImageFiles {
    contents: HashMap<String, Vec<u8>>,
    links: HashMap<String, String>,
}

impl ImageFiles {
    /// One pass over the image.
    fn read_all(image: &Image) -> Result<Self, Failure> {
        let mut files = Self { contents: HashMap::new(), links: HashMap::new() };
        let mut left = PROGRAMS_BYTES_MAX;
        let mut is_over = false;
        let walked = image.walk(&mut |entry, content| {
            let path = entry.absolute();
            if let Some(link) = &entry.link
                && entry.kind == FileKind::Symlink
            {
                files.links.insert(path, link.clone());
                return Visit::Continue;
            }
            if entry.kind != FileKind::Regular || entry.size > OBJECT_BYTES_MAX {
                return Visit::Continue;
            }
            let mut head = [0; 4];
            let n = content.read(&mut head).unwrap_or(0);
            let is_program = head == *b"\x7fELF";
            let is_script = head.starts_with(b"#!") && entry.size <= SCRIPT_BYTES_MAX;
            if n < 4 || !(is_program || is_script) {
                return Visit::Continue;
            }
            if entry.size > left {
                is_over = true;
                return Visit::Continue;
            }
            let mut bytes = head.to_vec();
            // What cannot be read is not there, and is named when it is asked for.
            if content.take(OBJECT_BYTES_MAX).read_to_end(&mut bytes).is_ok() {
                left = left.saturating_sub(bytes.len() as u64);
                files.contents.insert(path, bytes);
            }
            Visit::Continue
        });
        walked.or_exit(Exit::Incomplete)?;
        if is_over {
            let message = format!("the image has more than {PROGRAMS_BYTES_MAX} bytes of programs");
            return Err(Failure::message(Exit::Incomplete, message).with_hint(
                "unpack it, and analyse its programs by their paths: palisade profile static FILE",
            ));
        }
        Ok(files)
    }

    /// The path of the file to which `path` leads, links of any component followed in the image.
    fn find(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> = parts(path);
        let mut done = String::new();
        let mut n_links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or(0));
                    continue;
                }
                part => {
                    done.push('/');
                    done.push_str(part);
                }
            }
            if let Some(link) = self.links.get(&done) {
                n_links += 1;
                if n_links > LINKS_MAX {
                    return None;
                }
                done.truncate(if link.starts_with('/') { 0 } else { done.rfind('/').unwrap_or(0) });
                left.extend(parts(link));
            }
        }
        self.contents.contains_key(&done).then_some(done)
    }
}

/// Components of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_string).collect()
}

impl Files for ImageFiles {
    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.contents.get(&self.find(path)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_within_the_image() {
        let files = ImageFiles {
            contents: [("/usr/lib/x/libc.so.6".to_string(), vec![1])].into(),
            links: [
                ("/lib", "usr/lib"),
                ("/usr/lib/libc.so", "../../lib/x/libc.so.6"),
                ("/up", "../../../../usr"),
                ("/round", "/round"),
            ]
            .map(|(path, link)| (path.to_string(), link.to_string()))
            .into(),
        };
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(files.find(path).as_deref(), expected, "{path}");
        };
        let found = Some("/usr/lib/x/libc.so.6");
        check("/usr/lib/x/libc.so.6", found);
        check("/lib/x/../x/libc.so.6", found);
        check("/usr/lib/libc.so", found);
        check("/up/lib/libc.so", found);
        check("/round", None);
        check("/nothing", None);
    }
}
