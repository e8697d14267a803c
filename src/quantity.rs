//! Quantities of Kubernetes as whole numbers. Pure.

/// What the ends of quantities multiply by, the longer ones first.
const ENDS: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
];

/// `text` in thousandths of its unit, such as `250` for a CPU of `250m`; `None` for what is no quantity.
pub(crate) fn thousandths(text: &str) -> Option<u64> {
    let end = ENDS.iter().find(|(end, _)| text.ends_with(end));
    let (number, factor) = match end {
        Some((end, factor)) => (text.strip_suffix(end)?, *factor),
        None => (text, 1.0),
    };
    let value: f64 = number.parse().ok()?;
    // Quantities are far below 2^53 thousandths of a byte of all memory in the world's clusters.
    let scaled = (value * factor * 1000.0).round();
    (scaled.is_finite() && scaled >= 0.0).then_some(scaled as u64)
}

/// An amount in thousandths as people read it: CPU as cores, bytes in Mi or Gi.
pub(crate) fn shown(resource: &str, thousandths: u64) -> String {
    if resource.ends_with("cpu") {
        return format!("{:.2} CPU", thousandths as f64 / 1000.0);
    }
    if !(resource.ends_with("memory") || resource.ends_with("storage")) {
        return (thousandths / 1000).to_string();
    }
    let mebibytes = thousandths as f64 / 1000.0 / 1_048_576.0;
    if mebibytes >= 1024.0 { format!("{:.1}Gi", mebibytes / 1024.0) } else { format!("{mebibytes:.0}Mi") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_shown() {
        for (text, expected) in [
            ("250m", Some(250)),
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("1e3", Some(1_000_000)),
            ("3k", Some(3_000_000)),
            ("many", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
        assert_eq!(shown("requests.cpu", 1250), "1.25 CPU");
        assert_eq!(shown("memory", thousandths("512Mi").unwrap()), "512Mi");
        assert_eq!(shown("memory", thousandths("3Gi").unwrap()), "3.0Gi");
        assert_eq!(shown("pods", 4000), "4");
    }
}
