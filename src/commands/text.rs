//! Reading a person's text files, of which none is long.

use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Bytes in the longest file: what a ConfigMap can carry.
const LONGEST: u64 = 1 << 20;

/// The text of the file at `path`.
///
/// # Errors
/// Where it cannot be read, is longer than 1 MiB or is not UTF-8.
pub(super) fn read(path: &Path) -> Result<String> {
    read_within(path, LONGEST)
}

/// The text of the file at `path`, which may have `longest` bytes.
///
/// # Errors
/// As [`read`].
pub(super) fn read_within(path: &Path, longest: u64) -> Result<String> {
    // Opening a pipe waits until somebody writes to it; one of the shell's (`<(...)`) is written to already.
    if !path.starts_with("/dev") && std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a pipe, and nobody may ever write to it"));
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(longest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > longest {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {} MiB", longest >> 20)));
    }
    String::from_utf8(content).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_and_one_that_is_no_text_are_refused() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::InvalidData);
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe).unwrap_err().kind(), ErrorKind::InvalidInput);
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap(), "text");
    }
}
