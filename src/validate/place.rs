//! Where a finding is: file, line, column, and the line itself.
//!
//! What we judge is rendered, but what a person edits is the template. A place is looked for in the
//! template first: there the offending text must stand below the line that names the same rule or
//! panel. Where it does not (a template made it), the place is in the rendered text.

use crate::config::document::Position;
use serde::Serialize;

/// The longest piece of a line that is shown, in characters.
const LONGEST: usize = 160;

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The file, as a person knows it.
    pub file: String,
    /// True where the text is not in a file of anybody's but was made from a template.
    pub rendered: bool,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub length: usize,
    /// The line, or the part of a long one around the column.
    pub excerpt: String,
    /// How many characters of the line are left out before the excerpt.
    pub excerpt_start: usize,
}

impl Place {
    /// The line of the file itself: none where the whole file is meant, or a line of what was made from it.
    pub fn line_of_file(&self) -> Option<usize> {
        (self.line > 0 && !self.rendered).then_some(self.line)
    }

    /// Where it is in what was made from the file, for those who are told the file alone.
    pub fn line_of_rendered(&self) -> String {
        match self.rendered && self.line > 0 {
            true => format!(" (line {} of the rendered text: {})", self.line, self.excerpt.trim()),
            false => String::new(),
        }
    }

    /// The offending text itself.
    pub fn text(&self) -> String {
        self.excerpt.chars().skip(self.column.saturating_sub(1 + self.excerpt_start)).take(self.length).collect()
    }

    /// The same with nothing shown of the line but the offending text, where that is one of `needles`; else with
    /// nothing at all.
    pub(super) fn alone(mut self, needles: &[&str]) -> Self {
        let text = self.text();
        let before = " ".repeat(self.column.saturating_sub(1 + self.excerpt_start));
        self.excerpt = if needles.contains(&text.as_str()) { before + &text } else { String::new() };
        self
    }
}

/// A text with a name for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The file.
    pub name: String,
    /// Its content.
    pub content: String,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl Text {
    /// The text `content` of the file `name`.
    pub fn new(name: impl Into<String>, content: impl Into<String>) -> Self {
        let content = content.into();
        let lines = std::iter::once(0).chain(content.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Text { name: name.into(), content, lines }
    }

    /// The byte at `position`, or the end.
    pub(super) fn offset(&self, position: Position) -> usize {
        let (line, column) = position;
        let Some(start) = self.lines.get(line.saturating_sub(1)) else { return self.content.len() };
        let letter = self.content[*start..].char_indices().nth(column.saturating_sub(1));
        letter.map_or(self.content.len(), |(index, _)| start + index)
    }

    /// The place of the bytes from `start` to `end`; of a text over several lines its first one.
    fn place(&self, start: usize, end: usize, rendered: bool) -> Place {
        let content = &self.content;
        let line_number = self.lines.partition_point(|line| *line <= start);
        let line_start = self.lines[line_number - 1];
        let line = content[line_start..].split(['\n', '\r']).next().unwrap_or_default();
        let end = end.min(line_start + line.len()).max(start);
        let column = content[line_start..start].chars().count() + 1;
        let length = content[start..end].chars().count().max(1);
        // A dashboard may be one line of a megabyte.
        let long = line.chars().count() > LONGEST;
        let excerpt_start = if long { (column - 1).saturating_sub(LONGEST / 4) } else { 0 };
        Place {
            file: self.name.clone(),
            rendered,
            line: line_number,
            column,
            length: length.min(LONGEST),
            excerpt: line.chars().skip(excerpt_start).take(LONGEST).collect(),
            excerpt_start,
        }
    }
}

/// A text that is judged, and the template that it comes from, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What is judged.
    pub text: Text,
    /// What it was rendered from.
    pub template: Option<Text>,
}

impl Judged {
    /// A file that is judged as it is.
    pub fn file(text: Text) -> Self {
        Judged { text, template: None }
    }

    /// The whole file.
    pub fn whole(&self) -> Place {
        Place { file: self.template.as_ref().unwrap_or(&self.text).name.clone(), ..Place::default() }
    }

    /// The place of the first of `needles` that stands in `part` of the rendered text, or of the start
    /// of that part; in the template where `anchor` and the needle stand there too.
    pub fn place(&self, part: &Part, anchor: Option<&Anchor>, needles: &[&str]) -> Place {
        let end = part.end.map_or(self.text.content.len(), |end| self.text.offset(end));
        self.place_in((self.text.offset(part.start), end), anchor, needles)
    }

    /// The same with a part from one byte to another.
    pub fn place_in(&self, span: (usize, usize), anchor: Option<&Anchor>, needles: &[&str]) -> Place {
        let in_template = self.template.as_ref().zip(anchor).and_then(|(template, anchor)| {
            let span = anchor.find(&template.content)?;
            needles.iter().find_map(|needle| find_word(&template.content, span, needle)).map(|found| (template, found))
        });
        if let Some((template, (start, end))) = in_template {
            return template.place(start, end, false);
        }
        let content = &self.text.content;
        let rendered = self.template.is_some();
        let found = needles.iter().find_map(|needle| find_word(content, span, needle));
        let (start, end) = found.unwrap_or_else(|| first_line(content, span.0));
        self.text.place(start, end, rendered)
    }
}

/// A part of the rendered text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: Position,
    /// Where what follows it begins; `None` at the end of the text.
    pub end: Option<Position>,
}

/// What a rule or panel is found by in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Texts of which one names it, such as `alert: ServiceDown`.
    pub names: Vec<String>,
    /// Which of those that are called so, from 0.
    pub occurrence: usize,
    /// What the next one begins with, such as `- alert:`.
    pub next: &'static [&'static str],
    /// The key in it that the needle stands below, such as `expr:`.
    pub key: Option<String>,
}

impl Anchor {
    /// The part of `content` that belongs to it.
    fn find(&self, content: &str) -> Option<(usize, usize)> {
        let found: Vec<usize> = self
            .names
            .iter()
            .flat_map(|name| content.match_indices(name.as_str()).map(|(index, text)| (index, index + text.len())))
            .filter(|(_, end)| !content[*end..].starts_with(is_word))
            .map(|(start, _)| start)
            .collect();
        // A template may make several of one.
        let start = *found.get(self.occurrence).or(found.last())?;
        let after = start + 1;
        let end = self.next.iter().filter_map(|next| content[after..].find(next)).min();
        let end = end.map_or(content.len(), |end| after + end);
        let start = match &self.key {
            Some(key) => start + content[start..end].find(key.as_str())?,
            None => start,
        };
        Some((start, end))
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The first whole occurrence of `needle` between the bytes of `span`.
fn find_word(content: &str, span: (usize, usize), needle: &str) -> Option<(usize, usize)> {
    if needle.is_empty() {
        return None;
    }
    let (start, end) = span;
    let part = content.get(start..end)?;
    part.match_indices(needle).map(|(index, _)| (start + index, start + index + needle.len())).find(|(from, to)| {
        let before = content[..*from].chars().next_back();
        let after = content[*to..].chars().next();
        let starts = !needle.starts_with(is_word) || !before.is_some_and(|letter| is_word(letter) || letter == ':');
        let ends = !needle.ends_with(is_word) || !after.is_some_and(is_word);
        starts && ends
    })
}

/// From the first letter at or after `start` to the end of its line.
fn first_line(content: &str, start: usize) -> (usize, usize) {
    let start = start + content[start..].find(|letter: char| !letter.is_whitespace()).unwrap_or(0);
    let rest = &content[start..];
    let line = rest.split(['\n', '\r']).next().unwrap_or_default();
    (start, start + line.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "@% for x in y %@\n- alert: A\n  expr: up == @{ x }@\n- alert: AB\n  expr: up_total > 1\n";
    const RENDERED: &str = "- alert: A\n  expr: up == 17\n- alert: AB\n  expr: up_total > 1\n";

    fn judged() -> Judged {
        Judged { text: Text::new("alerts/a.yaml", RENDERED), template: Some(Text::new("mine/alerts/a.yaml", TEMPLATE)) }
    }

    fn anchor(name: &str) -> Anchor {
        Anchor {
            names: vec![format!("alert: {name}")],
            occurrence: 0,
            next: &["- alert:"],
            key: Some("expr:".to_owned()),
        }
    }

    #[test]
    fn a_text_of_the_template_is_shown_there() {
        let part = Part { start: (4, 3), end: None };
        let place = judged().place(&part, Some(&anchor("AB")), &["up_total"]);
        assert_eq!((place.file.as_str(), place.rendered), ("mine/alerts/a.yaml", false));
        assert_eq!((place.line, place.column, place.length), (5, 9, 8));
        assert_eq!(place.excerpt, "  expr: up_total > 1");
    }

    #[test]
    fn what_a_template_made_is_shown_in_the_rendered_text() {
        let part = Part { start: (2, 3), end: Some((3, 1)) };
        let place = judged().place(&part, Some(&anchor("A")), &["17"]);
        assert_eq!((place.file.as_str(), place.rendered), ("alerts/a.yaml", true));
        assert_eq!((place.line, place.column, place.length), (2, 15, 2));
    }

    #[test]
    fn only_whole_words_are_found_and_a_missing_one_leaves_the_line() {
        let file = Judged::file(Text::new("a", "x: rate_up\ny: up é\n"));
        let part = Part { start: (1, 1), end: None };
        assert_eq!(file.place(&part, None, &["up"]).line, 2);
        let part = Part { start: (2, 1), end: None };
        let place = file.place(&part, None, &["nothing", "é"]);
        assert_eq!((place.line, place.column, place.length), (2, 7, 1));
        let place = file.place(&part, None, &["nothing"]);
        assert_eq!((place.line, place.column, place.length), (2, 1, 7));
    }

    #[test]
    fn of_a_long_line_only_a_part_is_kept() {
        let line = format!("{}needle{}", "x ".repeat(5000), " y".repeat(5000));
        let place = Judged::file(Text::new("a", line)).place(&Part { start: (1, 1), end: None }, None, &["needle"]);
        assert_eq!(place.column, 10_001);
        let shown: String = place.excerpt.chars().skip(place.column - 1 - place.excerpt_start).take(6).collect();
        assert_eq!(shown, "needle");
        assert!(place.excerpt.chars().count() <= LONGEST);
    }
}
