//! What is seen of each file while an image is read: packages, secrets, malware, dangers.
//!
//! One visitor sees every entry once; each of its parts is given the bytes that it wants, and
//! none reads a file again.

use std::collections::HashSet;
use std::io::Read;

use palisade_image::{FileEntry, FileKind, Image, Visit};
use palisade_model::Severity;
use palisade_model::finding::{Coverage, Malware, Secret};
use palisade_packages::Collector;

use crate::configuration;
use crate::files::Inspector;
use crate::malware;
use crate::minimality::Observer;
use crate::secrets::{self, Searcher};

/// Secrets of one image beyond this number are dropped and counted.
pub const SECRETS_MAX: usize = 10_000;
/// Files known as malware beyond this number are dropped and counted.
pub const MALWARE_MAX: usize = 10_000;
/// Landmarks of one image beyond this number are not kept; checks name the first.
const LANDMARKS_MAX: usize = 1_000;
/// `etc/passwd` and `etc/shadow` beyond this many bytes are a gap.
const ACCOUNTS_BYTES_MAX: u64 = 8 << 20;

/// Looks for packages in a file that begins with `head`, if it is a program.
pub(crate) fn see_program(
    collector: &mut Collector,
    entry: &FileEntry,
    layer: Option<palisade_base::Digest>,
    head: &[u8],
    rest: &mut dyn Read,
) {
    if !Collector::is_program(head) {
        return;
    }
    if let Err(error) = collector.add_program(&entry.path, layer, entry.size, head, rest) {
        collector.gap(&entry.path, error.to_string());
    }
}

pub(crate) fn diff_id(image: &Image, entry: &FileEntry) -> Option<palisade_base::Digest> {
    Some(image.layers.get(entry.layer?)?.diff_id)
}

/// Folders are shared between packages and layers.
pub(crate) fn has_layer_of_its_own(entry: &FileEntry) -> bool {
    matches!(entry.kind, FileKind::Regular | FileKind::HardLink | FileKind::Symlink)
}

pub(crate) fn read_wanted(
    entry: &FileEntry,
    content: &mut dyn Read,
    limit: u64,
) -> Result<Vec<u8>, String> {
    if entry.size > limit {
        return Err(format!("larger than the limit of {limit} bytes"));
    }
    palisade_base::read_bounded(content, "file", limit).map_err(|error| error.to_string())
}

/// What the visitor of the walk gathers.
pub(crate) struct Walk<'a> {
    image: &'a Image,
    searcher: &'a Searcher,
    wants_secrets: bool,
    pub(crate) collector: Collector,
    pub(crate) inspector: Inspector,
    pub(crate) examiner: Option<malware::Examiner<'a>>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) malware: Vec<Malware>,
    pub(crate) landmarks: Vec<String>,
    pub(crate) empty_password: bool,
    pub(crate) coverage: Coverage,
    /// Reused for every file that is searched.
    buffer: Vec<u8>,
    /// Sees every entry, where somebody wants to know what is more than needed.
    pub(crate) observer: Option<Observer>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(image: &'a Image, searcher: &'a Searcher, wants_secrets: bool) -> Self {
        Self {
            image,
            searcher,
            wants_secrets,
            collector: Collector::new(),
            inspector: Inspector::new(),
            examiner: None,
            secrets: Vec::new(),
            malware: Vec::new(),
            landmarks: Vec::new(),
            empty_password: false,
            coverage: Coverage::default(),
            buffer: Vec::new(),
            observer: None,
        }
    }

    pub(crate) fn see(&mut self, entry: &FileEntry, content: &mut dyn Read) -> Visit {
        if configuration::is_landmark(&entry.path) && self.landmarks.len() < LANDMARKS_MAX {
            self.landmarks.push(entry.path.clone());
        }
        if has_layer_of_its_own(entry) {
            self.collector.see(&entry.path, diff_id(self.image, entry));
        }
        let limit = self.collector.wants(&entry.path);
        match entry.kind {
            // Presented again as a regular file, and examined then.
            FileKind::HardLink if limit.is_some() || is_account_file(&entry.path) => {
                return Visit::Follow;
            }
            FileKind::Regular => self.see_regular(entry, content, limit),
            FileKind::Symlink => self.collector.see_link(&entry.path),
            _ => {}
        }
        if let Some(observer) = &mut self.observer {
            observer.see(entry);
        }
        self.inspector.see(entry);
        Visit::Continue
    }

    /// Programs outside packages are read whole for what they load, and then by the others.
    fn see_regular(&mut self, entry: &FileEntry, content: &mut dyn Read, limit: Option<u64>) {
        match &mut self.observer {
            Some(observer) if observer.wants(entry) => match observer.read(entry, content) {
                Ok(bytes) => self.see_content(entry, &mut bytes.as_slice().chain(content), limit),
                Err(error) => self.collector.gap(&entry.path, error.to_string()),
            },
            _ => self.see_content(entry, content, limit),
        }
    }

    fn see_content(&mut self, entry: &FileEntry, content: &mut dyn Read, limit: Option<u64>) {
        if let Some(limit) = limit {
            match read_wanted(entry, content, limit) {
                Ok(bytes) => {
                    self.collector.add(&entry.path, &bytes, diff_id(self.image, entry));
                    self.search(entry, &bytes);
                    self.examine(entry, &bytes);
                }
                Err(reason) => self.collector.gap(&entry.path, reason),
            }
        } else if is_account_file(&entry.path) {
            match palisade_base::read_bounded(content, "account file", ACCOUNTS_BYTES_MAX) {
                Ok(bytes) => {
                    if entry.path == "etc/passwd" {
                        self.inspector.see_passwd(&bytes);
                        self.inspector.see_passwords("/etc/passwd", &bytes);
                    } else if self.image.is_folder() {
                        // An image's configuration has a check for it.
                        self.inspector.see_passwords("/etc/shadow", &bytes);
                    } else {
                        self.empty_password |= configuration::has_empty_password(&bytes);
                    }
                    self.search(entry, &bytes);
                }
                Err(error) => self.collector.gap(&entry.path, error.to_string()),
            }
        } else if self.wants_secrets
            || self.examiner.is_some()
            || self.collector.wants_program(&entry.path, entry.mode)
        {
            self.read_and_search(entry, content);
        }
    }

    /// Reads the beginning of a file and, when something wants it, the rest.
    fn read_and_search(&mut self, entry: &FileEntry, content: &mut dyn Read) {
        let may_be_program = self.collector.wants_program(&entry.path, entry.mode);
        if is_excluded(&entry.path) && !may_be_program && self.examiner.is_none() {
            self.coverage.n_files_excluded += 1;
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if let Err(error) = self.read_rest(entry, content, may_be_program, &mut buffer) {
            self.collector.gap(&entry.path, error.to_string());
        }
        // A large file's memory is not kept for the many small ones.
        if buffer.capacity() > BUFFER_KEPT_BYTES_MAX {
            buffer = Vec::new();
        }
        self.buffer = buffer;
    }

    fn read_rest(
        &mut self,
        entry: &FileEntry,
        content: &mut dyn Read,
        may_be_program: bool,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let layer = diff_id(self.image, entry);
        content.take(SNIFF_BYTES).read_to_end(buffer)?;
        self.inspector.see_head(entry, buffer);
        let kind = self.kind_of_search(entry, buffer);
        let is_examined = self.examiner.is_some() && entry.size <= malware::FILE_BYTES_MAX;
        let bytes_max = kind.map_or(0, SearchKind::bytes_max);
        let bytes_max = if is_examined { bytes_max.max(entry.size) } else { bytes_max };
        if bytes_max == 0 {
            if may_be_program {
                see_program(&mut self.collector, entry, layer, buffer, content);
            }
        } else {
            // As much as the file has: growing step by step would take twice of it.
            let n_rest = entry.size.min(bytes_max).saturating_sub(buffer.len() as u64);
            buffer.reserve_exact(usize::try_from(n_rest).unwrap_or_default().saturating_add(1));
            content.take(bytes_max).read_to_end(buffer)?;
            if may_be_program && Collector::is_program(buffer) {
                self.collector.add_whole_program(&entry.path, layer, buffer);
            }
            if let Some(kind) = kind {
                self.search_as(kind, entry, buffer);
            }
        }
        if is_examined {
            self.examine(entry, buffer);
        } else if self.examiner.is_some() {
            self.coverage.n_files_malware_skipped += 1;
        }
        Ok(())
    }

    /// Looks for malware in the whole content of a file.
    fn examine(&mut self, entry: &FileEntry, bytes: &[u8]) {
        let Some(examiner) = &mut self.examiner else { return };
        if bytes.len() as u64 > malware::FILE_BYTES_MAX {
            self.coverage.n_files_malware_skipped += 1;
            return;
        }
        self.coverage.n_files_malware += 1;
        let found = examiner.examine(&entry.path, bytes);
        self.coverage.n_files_malware_skipped += found.n_skipped;
        for m in found.matches {
            if self.malware.len() >= MALWARE_MAX {
                self.coverage.n_dropped += 1;
                self.coverage.dropped.malware += 1;
                continue;
            }
            self.malware.push(Malware {
                rule: m.rule,
                engine: m.engine,
                title: m.title,
                path: format!("{}{}", entry.absolute(), m.within),
                detail: m.detail,
                sha256: Some(m.sha256),
                reference: m.reference,
                package: None,
                severity: m.severity,
                layer: diff_id(self.image, entry),
            });
        }
    }

    /// How a file that begins with `head` is searched for secrets; counts it if it is not.
    fn kind_of_search(&mut self, entry: &FileEntry, head: &[u8]) -> Option<SearchKind> {
        if !self.wants_secrets {
            return None;
        }
        let path = entry.path.as_str();
        let kind = if let Some(kind) = secrets::git::kind(path) {
            SearchKind::Git(kind)
        } else if secrets::is_text(head) {
            SearchKind::Text
        } else {
            SearchKind::Binary
        };
        let n = if is_excluded(path) {
            &mut self.coverage.n_files_excluded
        } else if kind == SearchKind::Binary && is_of_system(path) {
            // What a distribution ships there everybody has.
            &mut self.coverage.n_files_binary
        } else if entry.size > kind.bytes_max() {
            &mut self.coverage.n_files_large
        } else {
            return Some(kind);
        };
        *n += 1;
        None
    }

    /// Searches the whole content of a file.
    fn search(&mut self, entry: &FileEntry, bytes: &[u8]) {
        if let Some(kind) = self.kind_of_search(entry, bytes) {
            self.search_as(kind, entry, bytes);
        }
    }

    fn search_as(&mut self, kind: SearchKind, entry: &FileEntry, bytes: &[u8]) {
        self.coverage.n_files_searched += 1;
        self.coverage.n_bytes_searched += bytes.len() as u64;
        match kind {
            SearchKind::Text => {
                self.inspector.see_text(entry, bytes);
                let found = self.searcher.search_file(&entry.path, bytes);
                self.keep(entry, found);
            }
            SearchKind::Binary => {
                let found = self.searcher.search_binary(&entry.path, bytes);
                self.keep(entry, found);
            }
            SearchKind::Git(kind) => self.search_objects(kind, entry, bytes),
        }
    }

    /// Searches the objects of a Git repository; what several revisions hold counts once.
    fn search_objects(&mut self, kind: secrets::git::GitFile, entry: &FileEntry, bytes: &[u8]) {
        let mut found = secrets::Hits::default();
        let mut seen = HashSet::new();
        let searcher = self.searcher;
        let objects = secrets::git::objects(kind, bytes, &mut |object| {
            let in_object = searcher.search_file(&entry.path, object);
            found.n_dropped += in_object.n_dropped;
            found.n_allowed += in_object.n_allowed;
            for mut hit in in_object.hits {
                if !seen.insert(hit.fingerprint.clone()) {
                    continue;
                }
                if found.hits.len() >= secrets::HITS_PER_FILE_MAX {
                    found.n_dropped += 1;
                    continue;
                }
                hit.line = 1;
                hit.title.push_str(" (in the history of a Git repository)");
                found.hits.push(hit);
            }
        });
        if let Some(problem) = objects.problem {
            self.collector.gap(&entry.path, problem.to_string());
        }
        // As files that are too large: they were not searched, and nothing of them is dropped.
        self.coverage.n_files_large += objects.n_skipped;
        self.keep(entry, found);
    }

    fn keep(&mut self, entry: &FileEntry, found: secrets::Hits) {
        self.coverage.n_dropped += found.n_dropped;
        self.coverage.dropped.secrets += found.n_dropped;
        self.coverage.n_secrets_allowed += found.n_allowed;
        let doubt = secrets::doubtful_place(&entry.path);
        for hit in found.hits {
            if self.secrets.len() >= SECRETS_MAX {
                self.coverage.n_dropped += 1;
                self.coverage.dropped.secrets += 1;
                continue;
            }
            let severity = match doubt {
                Some(_) => hit.severity.min(Severity::Low),
                None => hit.severity,
            };
            self.secrets.push(Secret {
                detector: hit.detector,
                title: format!("{}{}", hit.title, doubt.unwrap_or_default()),
                path: entry.absolute(),
                line: hit.line,
                redacted: hit.redacted,
                severity,
                layer: diff_id(self.image, entry),
                fingerprint: hit.fingerprint,
                n_more: hit.n_more,
                package: None,
            });
        }
    }
}

/// How the content of a file is searched for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchKind {
    Text,
    Binary,
    Git(secrets::git::GitFile),
}

impl SearchKind {
    fn bytes_max(self) -> u64 {
        match self {
            Self::Text => secrets::FILE_BYTES_MAX,
            Self::Binary => secrets::BINARY_BYTES_MAX,
            Self::Git(_) => secrets::git::PACK_BYTES_MAX,
        }
    }
}

/// Whether `path` (without leading slash) is in a folder that distributions fill.
pub(crate) fn is_of_system(path: &str) -> bool {
    let system = ["usr/", "lib/", "lib64/", "bin/", "sbin/"];
    system.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("usr/local/")
}

/// The buffer of files is given back when it has grown beyond this.
const BUFFER_KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes that decide whether the rest is read.
const SNIFF_BYTES: u64 = 8_192;

fn is_account_file(path: &str) -> bool {
    matches!(path, "etc/passwd" | "etc/shadow")
}

/// Folders of manuals, translations and package databases: published text without secrets,
/// and a third of a distribution's bytes.
fn is_excluded(path: &str) -> bool {
    let folders = [
        "usr/share/doc/",
        "usr/share/man/",
        "usr/share/info/",
        "usr/share/locale/",
        "usr/share/zoneinfo/",
        "usr/share/i18n/",
        "usr/share/common-licenses/",
        "usr/share/perl/",
        "usr/share/mime/",
        "usr/share/icons/",
        "var/lib/dpkg/info/",
        "var/lib/dpkg/status",
        "var/lib/apt/lists/",
        "lib/apk/db/",
        "usr/lib/apk/db/",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}
