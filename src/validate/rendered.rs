//! Places in something that was rendered to YAML.

use super::place::{Anchor, Judged, Part, Place};
use crate::config::Document;

/// A rendered YAML document with the place of everything in it.
pub(super) struct Rendered<'j> {
    judged: &'j Judged,
    /// Missing where our own text could not be read again; then the whole file is the place.
    document: Option<Document>,
}

impl<'j> Rendered<'j> {
    pub(super) fn new(judged: &'j Judged) -> Self {
        Rendered { judged, document: Document::parse(&judged.text.name, &judged.text.content).ok() }
    }

    /// The place of the first of `needles` at `pointer`; in the template where one stands below `anchor`.
    pub(super) fn place_below(&self, pointer: &str, anchor: &Anchor, needles: &[&str]) -> Place {
        match self.part(pointer) {
            Some(part) => self.judged.place(&part, Some(anchor), needles),
            None => self.judged.whole(),
        }
    }

    fn part(&self, pointer: &str) -> Option<Part> {
        let document = self.document.as_ref()?;
        let start = document.position(pointer).unwrap_or((1, 1));
        Some(Part { start, end: document.position_after(pointer).filter(|end| *end > start) })
    }

    /// The same, wherever in the template one stands.
    pub(super) fn place(&self, pointer: &str, needles: &[&str]) -> Place {
        let Some(part) = self.part(pointer) else { return self.judged.whole() };
        let anchors = needles.iter().filter(|needle| !needle.is_empty()).map(|needle| Anchor {
            names: vec![(*needle).to_owned()],
            occurrence: 0,
            next: &[],
            key: None,
        });
        let in_template = anchors.map(|anchor| self.judged.place(&part, Some(&anchor), needles));
        let found = in_template.into_iter().find(|place| !place.rendered);
        found.unwrap_or_else(|| self.judged.place(&part, None, needles))
    }
}
