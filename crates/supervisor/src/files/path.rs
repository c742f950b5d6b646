//! Paths as Docker's copies read them, which is by Go's rules: before the files
//! are looked at they are cleaned by name, but whether a path says that it is a
//! directory (`a/`, `a/.`) is kept.

/// `filepath.Join("/", path)`.
pub(super) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// The path cleaned, with the end that it had (`PreserveTrailingDotOrSeparator`
/// of Docker's archive library).
pub(super) fn clean_with_end(path: &str) -> String {
    let mut cleaned = clean(path);
    if base(path) == "." {
        if !cleaned.ends_with('/') {
            cleaned.push('/');
        }
        cleaned.push('.');
    }
    if path.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// `filepath.Base`.
pub(super) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed.rsplit('/').next().unwrap_or(trimmed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_gos() {
        for (path, cleaned, ended, name) in [
            ("", "/", "/.", "."),
            ("/", "/", "/", "/"),
            ("//", "/", "/", "/"),
            (".", "/", "/.", "."),
            ("/.", "/", "/.", "."),
            ("a", "/a", "/a", "a"),
            ("/a/b", "/a/b", "/a/b", "b"),
            ("/a/b/", "/a/b", "/a/b/", "b"),
            ("/a/b/.", "/a/b", "/a/b/.", "."),
            ("/a/b/./", "/a/b", "/a/b/./", "."),
            ("/a/../../b/..", "/", "/", ".."),
            ("a//./b", "/a/b", "/a/b", "b"),
        ] {
            assert_eq!((clean(path).as_str(), clean_with_end(path).as_str(), base(path)), (cleaned, ended, name));
        }
    }
}
