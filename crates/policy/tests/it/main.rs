//! Policies as users write them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod decisions;
mod files;
mod goldens;
mod mutations;

/// Compares `actual` with the file at `path`, or writes it there with `UPDATE_GOLDEN=1`.
#[track_caller]
fn golden(path: &std::path::Path, actual: &str) {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the product")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    if update {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; run with UPDATE_GOLDEN=1 and look at the difference\n--- actual\n{actual}",
        path.display()
    );
}
