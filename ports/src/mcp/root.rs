//! The folders that a server is to work in.

use std::path::Path;

/// The most folders that a server is told of.
pub const MAX_ROOTS: usize = 32;
/// The most bytes of the address of a folder.
pub const MAX_ROOT_BYTES: usize = 4 * 1024;

/// A folder that a server is to work in. It is a word to the server, and holds nobody back who does not listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpRoot {
    /// Its address, which begins with `file://`.
    pub uri: String,
    /// What it is called, for people.
    pub name: Option<String>,
}

impl McpRoot {
    /// The folder at `path`, which is absolute. What an address cannot hold as it is, is written in hexadecimal.
    #[must_use]
    pub fn folder(path: &Path, name: Option<String>) -> Self {
        let mut uri = "file://".to_owned();
        if !path.as_os_str().as_encoded_bytes().starts_with(b"/") {
            uri.push('/');
        }
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(*byte)),
                b'\\' if cfg!(windows) => uri.push('/'),
                b':' if cfg!(windows) => uri.push(':'),
                byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
                byte => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        Self { uri, name }
    }

    /// Whether a server can be told of it: its address begins with `file://`, has at most [`MAX_ROOT_BYTES`] and nothing
    /// that addresses do not have.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.uri.starts_with("file://")
            && self.uri.len() <= MAX_ROOT_BYTES
            && self.uri.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_path_becomes_an_address() {
        let of = |path: &str| McpRoot::folder(Path::new(path), None);
        assert_eq!(of("/srv/notes").uri, "file:///srv/notes");
        assert_eq!(of("/a b/ü?#%").uri, "file:///a%20b/%C3%BC%3F%23%25");
        assert!(of("/line\nbreak").is_folder());
    }

    #[test]
    fn what_is_no_folder_is_told_from_one() {
        let is_folder = |uri: String| McpRoot { uri, name: None }.is_folder();
        assert!(is_folder("file:///srv".to_owned()));
        for none in [
            String::new(),
            "/srv".to_owned(),
            "https://example.com".to_owned(),
            "file:///a b".to_owned(),
            "file:///a\nb".to_owned(),
            format!("file:///{}", "x".repeat(MAX_ROOT_BYTES)),
        ] {
            assert!(!is_folder(none));
        }
    }
}
