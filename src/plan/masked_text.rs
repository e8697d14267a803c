//! Texts without what their lines say of secrets, as far as the names in them tell: `password: x`, `"token": "x"`,
//! `client_secret = x`, the lines of a block below such a key, the `value` below a `name`, and a password in a URL.

use crate::secrets::is_secret_name;

/// What stands in the place of a secret.
const MASKED: &str = "(masked)";

/// The text with each of its lines masked.
pub(super) fn masked_text(text: &str) -> String {
    masked_lines(text.lines()).join("\n")
}

/// Each of `lines`, which follow each other, masked and without its end.
pub fn masked_lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<String> {
    // Where the key stands that the lines are below, and whether the variable has a secret's name that they are of.
    let (mut below, mut of_variable) = (None::<usize>, false);
    let masked = lines.into_iter().map(|line| {
        let line = line.trim_end_matches(['\n', '\r']);
        let indent = line.len() - line.trim_start().len();
        match below {
            Some(_) if line.trim().is_empty() => return line.to_owned(),
            Some(at) if indent > at => return format!("{}{MASKED}", &line[..indent]),
            _ => below = None,
        }
        let key = line.trim_start().trim_start_matches("- ");
        if std::mem::take(&mut of_variable) && key.starts_with("value:") {
            return format!("{}value: {MASKED}", &line[..line.len() - key.len()]);
        }
        of_variable = key.strip_prefix("name:").is_some_and(|name| is_secret_name(name.trim()));
        let Some(end) = end_of_secret_name(line) else { return without_password_of_url(line) };
        let before = without_password_of_url(&line[..end]);
        let rest = line[end..].trim();
        if rest.is_empty() || rest.starts_with(['|', '>']) {
            below = Some(line.len() - key.len());
            return line.to_owned();
        }
        format!("{before} {MASKED}")
    });
    masked.collect()
}

/// Where the first name of a secret in `line` ends that something is given for, behind its `:` or `=`.
fn end_of_secret_name(line: &str) -> Option<usize> {
    let separators = line.match_indices([':', '=']).map(|(at, _)| at);
    let mut ends = separators.filter(|at| {
        let before = line[..*at].trim_end().trim_end_matches(['"', '\'']);
        let is_of_name = |letter: char| letter.is_alphanumeric() || ['_', '-', '.'].contains(&letter);
        let start = before
            .rfind(|letter| !is_of_name(letter))
            .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
        is_secret_name(&before[start..])
    });
    ends.next().map(|at| at + 1)
}

/// The line without what stands before the `@` of a URL: user and password, or a token.
fn without_password_of_url(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // A password may hold what ends a host; it ends with the last `@` before the path, or of all where it is not quoted.
        let url = after.find(|letter: char| letter.is_whitespace() || "\"'<>".contains(letter)).unwrap_or(after.len());
        let host = after[..url].find(['/', '?', '#']).unwrap_or(url);
        let has_password = after[..host].contains(':');
        let end = after[..host]
            .rfind('@')
            .or_else(|| after[..url].rfind('@').filter(|_| has_password && !is_port(&after[..host])));
        if end.is_some() {
            shown.push_str(MASKED);
        }
        rest = &after[end.unwrap_or(0)..];
    }
    shown.push_str(rest);
    shown
}

/// Whether `authority` is a host with a port.
fn is_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_say_of_secrets_is_masked() {
        for (line, shown) in [
            ("password: s3cret", "password: (masked)"),
            ("  client_secret = s3cret", "  client_secret = (masked)"),
            ("secret_key = s3cret", "secret_key = (masked)"),
            (r#"{"a": 1, "password": "s3cret", "b": 2}"#, r#"{"a": 1, "password": (masked)"#),
            ("host=db user=u password=s3cret", "host=db user=u password= (masked)"),
            ("url: postgres://me:s3cret@db/x", "url: postgres://(masked)@db/x"),
            ("é: http://é:s3cret@é and https://b.c/d:e@f", "é: http://(masked)@é and https://b.c/d:e@f"),
            ("--auth-token=s3cret --verbose", "--auth-token= (masked)"),
            ("passwordKey: password", "passwordKey: password"),
            ("dial postgres://app:s3cret@db token=x", "dial postgres://(masked)@db token= (masked)"),
            ("clone https://ghp_x@github.com/a", "clone https://(masked)@github.com/a"),
            ("to 'redis://:p/w?@x@db:6379/0'", "to 'redis://(masked)@db:6379/0'"),
            ("get http://db:6379/a@b", "get http://db:6379/a@b"),
            ("a: b", "a: b"),
            ("", ""),
        ] {
            assert_eq!(masked_text(line), shown);
        }
    }

    #[test]
    fn what_stands_below_a_name_is_masked_too() {
        let text = "a:\n  private_key: |\n    s3cret\n\n    s3cret\n  b: 1\nenv:\n- name: API_TOKEN\n  value: s3cret\n\
                    - name: MODE\n  value: plain\n- credentials:\n    user: s3cret\n  c: 2";
        let shown = "a:\n  private_key: |\n    (masked)\n\n    (masked)\n  b: 1\nenv:\n- name: API_TOKEN\n  value: (masked)\n\
                    - name: MODE\n  value: plain\n- credentials:\n    (masked)\n  c: 2";
        assert_eq!(masked_text(text), shown);
    }
}
