//! JSON pointers (RFC 6901). Pure.

/// The pointer of what stands under `key` at `pointer`.
pub(crate) fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", escaped(key))
}

/// A key as a part of a pointer.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The key that a part of a pointer stands for.
pub(crate) fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_pointer() {
        for key in ["a", "a/b", "a~b", "~1", "~0/", ""] {
            assert_eq!(unescaped(&escaped(key)), key);
            assert!(!escaped(key).contains('/'));
        }
        assert_eq!(below("/x", "a/b~"), "/x/a~1b~0");
    }
}
