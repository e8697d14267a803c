//! Splits a template into its tags and their tokens, as tera does: tera keeps its own parser to itself.

/// One tag.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tag<'t> {
    /// True for `@% %@`, false for `@{ }@`.
    pub(super) is_block: bool,
    /// What stands in it.
    pub(super) tokens: Vec<Placed<'t>>,
}

/// A token and where it begins, both counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed<'t> {
    pub(super) kind: Token<'t>,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl<'t> Placed<'t> {
    /// The name, if it is one.
    pub(super) fn name(&self) -> Option<&'t str> {
        match self.kind {
            Token::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'t> {
    /// A name or keyword.
    Name(&'t str),
    /// A string literal, without its quotes and with escapes as written.
    Text(&'t str),
    /// A number; its value matters to nobody here.
    Number,
    /// An operator or bracket.
    Symbol(&'t str),
}

/// Operators of more than one character, longest first.
const OPERATORS: &[&str] = &["...", "//", "**", "==", "!=", ">=", "<=", "</", "?.", "?["];

/// All tags of `text` in order; comments and raw blocks are left out. An unclosed tag ends the list:
/// tera has its own message for that.
pub(super) fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut cursor = Cursor { rest: text, line: 1, column: 1 };
    let mut tags = Vec::new();
    loop {
        let Some(start) = cursor.rest.as_bytes().windows(2).position(|two| matches!(two, b"@%" | b"@{" | b"@#")) else {
            return tags;
        };
        cursor.advance(start);
        let opening = cursor.advance(2);
        match opening {
            "@#" => match cursor.rest.find("#@") {
                Some(end) => {
                    cursor.advance(end + 2);
                }
                None => return tags,
            },
            _ => {
                let is_block = opening == "@%";
                let Some(tokens) = cursor.tokens(if is_block { "%@" } else { "}@" }) else { return tags };
                if is_block && matches!(tokens.first().and_then(Placed::name), Some("raw")) {
                    if !cursor.skip_raw() {
                        return tags;
                    }
                } else {
                    tags.push(Tag { is_block, tokens });
                }
            }
        }
    }
}

struct Cursor<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
}

impl<'t> Cursor<'t> {
    fn advance(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        for character in taken.chars() {
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    /// The tokens up to `end`, which is taken as well; `None` when the text ends first.
    fn tokens(&mut self, end: &str) -> Option<Vec<Placed<'t>>> {
        if self.rest.starts_with('-') {
            self.advance(1);
        }
        let mut tokens = Vec::new();
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            let first = self.rest.chars().next()?;
            if let Some(rest) = self.rest.strip_prefix('-')
                && rest.starts_with(end)
            {
                self.advance(1 + end.len());
                return Some(tokens);
            }
            if self.rest.starts_with(end) {
                self.advance(end.len());
                return Some(tokens);
            }
            let (line, column) = (self.line, self.column);
            let kind = if first.is_ascii_alphabetic() || first == '_' {
                Token::Name(self.take(|character| character.is_ascii_alphanumeric() || character == '_'))
            } else if first.is_ascii_digit() {
                self.take(|character| character.is_ascii_digit() || character == '.');
                Token::Number
            } else if matches!(first, '"' | '\'' | '`') {
                Token::Text(self.quoted(first)?)
            } else if let Some(operator) = OPERATORS.iter().find(|operator| self.rest.starts_with(**operator)) {
                Token::Symbol(self.advance(operator.len()))
            } else {
                Token::Symbol(self.advance(first.len_utf8()))
            };
            tokens.push(Placed { kind, line, column });
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let length = self.rest.find(|character| !belongs(character)).unwrap_or(self.rest.len());
        self.advance(length)
    }

    fn quoted(&mut self, quote: char) -> Option<&'t str> {
        let mut escaped = false;
        let inside = &self.rest[1..];
        let length = inside.find(|character| {
            if escaped {
                escaped = false;
                return false;
            }
            escaped = character == '\\';
            character == quote
        })?;
        self.advance(length + 2);
        Some(&inside[..length])
    }

    /// Goes behind the next `endraw`; false when there is none.
    fn skip_raw(&mut self) -> bool {
        while let Some(start) = self.rest.find("@%") {
            self.advance(start + 2);
            if let Some(inside) = self.rest.split("%@").next()
                && inside.trim_matches(|character: char| character == '-' || character.is_whitespace()) == "endraw"
            {
                self.advance(inside.len() + 2);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tags(text)
            .iter()
            .map(|tag| tag.tokens.iter().map(|token| format!("{:?}", token.kind)).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn tags_are_found_among_everything_else() {
        let none: [&str; 0] = [];
        for (text, expected) in [
            ("no tag {{ a }} {% b %} [[1]] <# x #> a@b", &none[..]),
            ("@{ a.b }@", &["Name(\"a\") Symbol(\".\") Name(\"b\")"]),
            ("@{- a -}@@%- if x -%@", &["Name(\"a\")", "Name(\"if\") Name(\"x\")"]),
            ("@{ {\"k\": 1}}@", &["Symbol(\"{\") Text(\"k\") Symbol(\":\") Number Symbol(\"}\")"]),
            ("@{ 'it\\'s }@' }@", &["Text(\"it\\\\'s }@\")"]),
            (
                "@{ a?.b[0] // 2 }@",
                &["Name(\"a\") Symbol(\"?.\") Name(\"b\") Symbol(\"[\") Number Symbol(\"]\") Symbol(\"//\") Number"],
            ),
            ("@# @{ a }@ #@@{ b }@", &["Name(\"b\")"]),
            ("@% raw -%@ @{ a }@ @%- endraw %@@{ b }@", &["Name(\"b\")"]),
            ("@{ a", &none),
            ("@{ 'a", &none),
            ("@# a", &none),
            ("@% raw %@ a", &none),
            ("@{ é }@", &["Symbol(\"é\")"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
