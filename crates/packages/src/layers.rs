//! Which layer brought a file.
//!
//! dpkg, apk and rpm keep one database for all packages, and the layer with its last state is
//! the last that installed anything. The layer of a package is therefore that of its files.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use palisade_base::Digest;

use crate::collect::normal_path;

/// Files whose layer is remembered.
const FILES_MAX: usize = 2_000_000;
/// Files of one package that are looked up: enough to tell.
const FILES_OF_PACKAGE_MAX: usize = 256;

/// Remembers layers by the hash of a path, which is enough for an attribution and a tenth of
/// the memory of the paths.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    digests: Vec<Digest>,
    files: HashMap<u64, u16>,
    hasher: RandomState,
}

impl Layers {
    /// Notes that `layer` brought the file at `path`.
    pub(crate) fn see(&mut self, path: &str, layer: Digest) {
        let known = self.digests.iter().rposition(|known| *known == layer);
        let index = known.unwrap_or_else(|| {
            self.digests.push(layer);
            self.digests.len() - 1
        });
        if let Ok(index) = u16::try_from(index)
            && self.files.len() < FILES_MAX
        {
            // The walk goes from the top layer down, and the first version counts.
            self.files.entry(self.hasher.hash_one(normal_path(path))).or_insert(index);
        }
    }

    /// The layer that brought most of `files`; the lower one when two brought as many.
    pub(crate) fn of_most(&self, files: &[String]) -> Option<Digest> {
        match self.digests.len() {
            0 => return None,
            1 => return self.digests.first().copied(),
            _ => {}
        }
        let mut counts = vec![0_u32; self.digests.len()];
        for file in files.iter().rev().take(FILES_OF_PACKAGE_MAX) {
            let layer = self.files.get(&self.hasher.hash_one(normal_path(file)));
            if let Some(count) = layer.and_then(|at| counts.get_mut(usize::from(*at))) {
                *count += 1;
            }
        }
        let (index, n) = counts.iter().enumerate().max_by_key(|(index, n)| (**n, *index))?;
        if *n == 0 { None } else { self.digests.get(index).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_files_decide() {
        let [top, base] = [Digest::of(b"top"), Digest::of(b"base")];
        let mut layers = Layers::default();
        layers.see("usr/bin/a", top);
        layers.see("bin/b", base);
        layers.see("usr/share/c", base);
        layers.see("bin/a", base);
        let files =
            |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
        assert_eq!(layers.of_most(&files(&["/bin/a"])), Some(top));
        assert_eq!(
            layers.of_most(&files(&["/usr/bin/a", "/usr/bin/b", "/usr/share/c"])),
            Some(base)
        );
        assert_eq!(layers.of_most(&files(&["/usr/bin/a", "/usr/bin/b"])), Some(base));
        assert_eq!(layers.of_most(&files(&["/nowhere"])), None);
        assert_eq!(Layers::default().of_most(&files(&["/bin/a"])), None);
    }
}
