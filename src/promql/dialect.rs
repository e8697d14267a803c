//! What Prometheus reads and the parser does not, put in words that both read.

use promql_parser::util::unquote_string;

/// The tokens of `text`, as they stand there: words with their digits, strings with their quotes, comments, and
/// every other letter by itself. A string that has no end reaches to the end.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let letter = rest.chars().next()?;
        let length = match letter {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => end_of_string(rest, letter).unwrap_or(rest.len()),
            _ if is_of_word(letter) => rest.find(|other| !is_of_word(other)).unwrap_or(rest.len()),
            _ => letter.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        Some(token)
    })
}

/// `text` with its raw strings, between backquotes, as strings between double ones; without the `_` that groups the
/// digits of a number; and with regular expressions as [`classes_of_rust`] writes them.
pub(super) fn translated(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 8);
    for token in tokens(text) {
        let letter = token.chars().next().unwrap_or_default();
        match letter {
            '"' | '\'' | '`' => match value_of(token, letter) {
                Some(value) => {
                    let trimmed = plain.trim_end();
                    let is_regex = trimmed.ends_with("=~") || trimmed.ends_with("!~");
                    let meant = if is_regex { classes_of_rust(&value) } else { value.clone() };
                    if letter == '`' || meant != value {
                        push_quoted(&mut plain, &meant);
                    } else {
                        plain.push_str(token);
                    }
                }
                // The parser says what is wrong with it.
                None => plain.push_str(token),
            },
            '0'..='9' => plain.push_str(&without_groups(token)),
            _ => plain.push_str(token),
        }
    }
    plain
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | ':' | '.')
}

/// Where the string ends that `text` begins with; `None` where it has no end.
fn end_of_string(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if letter == quote => return Some(index + letter.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Whether the string `token` has the `quote` at its end that it has at its start.
pub fn is_closed(token: &str, quote: char) -> bool {
    end_of_string(token, quote) == Some(token.len())
}

/// What the string `token` says; `None` where it cannot be read.
fn value_of(token: &str, quote: char) -> Option<String> {
    match quote {
        _ if !is_closed(token, quote) => None,
        '`' => Some(token[1..token.len() - 1].to_owned()),
        _ => unquote_string(token).ok(),
    }
}

fn push_quoted(plain: &mut String, value: &str) {
    plain.push('"');
    for letter in value.chars() {
        match letter {
            '\n' => plain.push_str("\\n"),
            '"' | '\\' => plain.extend(['\\', letter]),
            _ => plain.push(letter),
        }
    }
    plain.push('"');
}

/// `1_000` as `1000` and `0x_ff` as `0xff`; what is no number, such as `1_0m`, stays, and is refused.
fn without_groups(token: &str) -> String {
    let (prefix, digits) = match token.get(..2) {
        Some("0x" | "0X") => token.split_at(2),
        _ => ("", token),
    };
    let is_hexadecimal = !prefix.is_empty();
    let is_digit = |letter: char| if is_hexadecimal { letter.is_ascii_hexdigit() } else { letter.is_ascii_digit() };
    let is_grouped = |part: &str| part.split('_').all(|group| !group.is_empty() && group.chars().all(is_digit));
    let fits = if is_hexadecimal {
        is_grouped(digits.strip_prefix('_').unwrap_or(digits))
    } else {
        digits.split(['.', 'e', 'E']).all(|part| part.is_empty() || is_grouped(part))
    };
    if fits { token.replace('_', "") } else { token.to_owned() }
}

/// A regular expression of Go for the crate `regex`: in a class, `[`, `&`, `~` and a second `-` stand for
/// themselves there, and may mean something here.
fn classes_of_rust(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        // What is taken as it is, in one piece: an escape, the head of a class with a `]` that closes nothing, `[:alpha:]`.
        let whole = match letter {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' if !in_class => {
                in_class = true;
                ["[^]", "[^", "[]"].iter().find(|head| rest.starts_with(**head)).map_or(1, |head| head.len())
            }
            '[' if rest.starts_with("[:") => rest[2..].find(":]").map_or(0, |end| end + 4),
            _ => 0,
        };
        if whole > 0 {
            plain.push_str(&rest[..whole]);
            rest = &rest[whole..];
            continue;
        }
        let is_second = letter == '-' && plain.ends_with('-');
        if in_class && (is_second || matches!(letter, '[' | '&' | '~')) {
            plain.push('\\');
        }
        in_class &= letter != ']';
        plain.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        let text = "sum by(a)(b_1{c=~\"|\\\"\"}) # '\n| 'é`\\' > 1_0.5e3 `x";
        let found: Vec<&str> = tokens(text).collect();
        assert_eq!(found.concat(), text);
        for token in ["by", "b_1", "\"|\\\"\"", "# '", "|", "'é`\\' > 1_0.5e3 `x"] {
            assert!(found.contains(&token), "{token}: {found:?}");
        }
    }

    #[test]
    fn what_both_read_is_left_as_it_is() {
        for text in [
            "sum by (job) (rate(a_1_2_total{job=~\"a|[b-c]\\\\.d\", b='it\\'s `x`'}[5m])) > 1.5e3 # `1_0 \"\n or up",
            "up{a=\"never closed",
            "up{a=`never closed",
            "up{a=\"\\q\"}",
            "1__0 + 1_ + 0x__1 + a[1_5m] + 1_e3 + 1e_3 + 1_d",
            "sum by (\"a.b\", c) (up)",
            "",
        ] {
            assert_eq!(translated(text), text);
        }
    }

    #[test]
    fn what_prometheus_alone_reads_is_put_in_other_words() {
        for (text, plain) in [
            (r#"up{job=~`a\d"b`, x="`\"c`", y='`'} # it's `d"#, r#"up{job=~"a\\d\"b", x="`\"c`", y='`'} # it's `d"#),
            ("up > 1_000_000 + 0x_f_f + 1_0.5_1e1_0", "up > 1000000 + 0xff + 10.51e10"),
            (
                r#"up{a=~"[[]", b!~'[^]&&a[:alpha:]~]+[\\[]', c="[[]"}"#,
                r#"up{a=~"[\\[]", b!~"[^]\\&\\&a[:alpha:]\\~]+[\\[]", c="[[]"}"#,
            ),
            ("up{a=~`[]a[:alpha:][]`}", r#"up{a=~"[]a[:alpha:]\\[]"}"#),
            ("up{a=~`[a[:]b[+--]--`}", r#"up{a=~"[a\\[:]b[+-\\-]--"}"#),
        ] {
            assert_eq!(translated(text), plain);
        }
    }
}
