//! Whether a file of a package can take its place in an image: what holds whatever the package
//! manager.

use palisade_image::FileKind;

use crate::Files;
use crate::deb::DebFile;

/// The place of a file, if its kind can be there; else why not. `at` is where its path leads, with
/// the links of its folders followed, if it leads anywhere.
pub(crate) fn place_of(
    files: &Files,
    file: &DebFile,
    at: Option<String>,
) -> Result<String, String> {
    let refuse = |what: &str| Err(format!("/{} {what}", file.path));
    let Some(at) = at else { return refuse("leads through a loop of links") };
    let kind = files.get(&at).map(|node| node.kind);
    match (file.kind, kind) {
        // A link may lead to a folder.
        (FileKind::Folder, None | Some(FileKind::Folder | FileKind::Symlink)) => Ok(at),
        (FileKind::Folder, Some(_)) => {
            refuse("is a file in the image and a folder in the new version")
        }
        (_, Some(FileKind::Folder)) => {
            refuse("is a folder in the image and none in the new version")
        }
        _ => Ok(at),
    }
}

/// Refuses a file that a package has whose name is not the upgrade's own.
pub(crate) fn refuse_others<'o>(
    file: &DebFile,
    owners: impl IntoIterator<Item = &'o String>,
    is_own: impl Fn(&str) -> bool,
) -> Result<(), String> {
    match owners.into_iter().find(|owner| !is_own(owner)) {
        Some(other) => Err(format!("/{} is a file of {other} as well", file.path)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    #[test]
    fn kinds_fit_or_not() {
        let node = |kind| Node {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            link: None,
            xattrs: Vec::new(),
            content: None,
        };
        let kinds = [
            ("folder", FileKind::Folder),
            ("link", FileKind::Symlink),
            ("file", FileKind::Regular),
        ];
        let files = Files::of(kinds.map(|(path, kind)| (path.to_string(), node(kind))));
        let check = |kind: FileKind, at: Option<&str>, expected: Result<&str, &str>| {
            let file = DebFile {
                path: "p".into(),
                kind,
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                link: String::new(),
                content: Vec::new(),
            };
            let found = place_of(&files, &file, at.map(str::to_string));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{kind:?} {at:?}");
        };
        let on_file = Err("/p is a file in the image and a folder in the new version");
        let on_folder = Err("/p is a folder in the image and none in the new version");
        check(FileKind::Folder, Some("folder"), Ok("folder"));
        check(FileKind::Folder, Some("link"), Ok("link"));
        check(FileKind::Folder, Some("none"), Ok("none"));
        check(FileKind::Folder, Some("file"), on_file);
        check(FileKind::Regular, Some("folder"), on_folder);
        check(FileKind::Symlink, Some("folder"), on_folder);
        check(FileKind::Regular, Some("link"), Ok("link"));
        check(FileKind::HardLink, Some("none"), Ok("none"));
        check(FileKind::Regular, None, Err("/p leads through a loop of links"));
    }
}
