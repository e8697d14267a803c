//! Numbers with their unit, as Grafana writes them.

use jiff::Timestamp;

/// Units that grow by a factor, from the smallest: what is below the first is written in it.
type Scale = &'static [(f64, &'static str)];

const SHORT: Scale = &[(1.0, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil")];
const BYTES: Scale =
    &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB"), (1_099_511_627_776.0, " TiB")];
const BYTES_PER_SECOND: Scale = &[(1.0, " B/s"), (1e3, " kB/s"), (1e6, " MB/s"), (1e9, " GB/s")];
const SECONDS: Scale =
    &[(1e-6, " µs"), (1e-3, " ms"), (1.0, " s"), (60.0, " mins"), (3600.0, " hours"), (86_400.0, " days")];

/// `value` in the unit that Grafana calls `unit`, with `decimals` digits behind the point, else with three
/// digits that say something.
pub(super) fn text(value: f64, unit: &str, decimals: Option<usize>) -> String {
    match unit {
        "percentunit" => format!("{}%", number(value * 100.0, decimals)),
        "s" => scaled(value, SECONDS, decimals),
        "bytes" => scaled(value, BYTES, decimals),
        "Bps" => scaled(value, BYTES_PER_SECOND, decimals),
        "reqps" => scaled(value, SHORT, decimals) + " req/s",
        "ops" => scaled(value, SHORT, decimals) + " ops/s",
        "mps" => scaled(value, SHORT, decimals) + " msg/s",
        "cps" => scaled(value, SHORT, decimals) + " c/s",
        "short" => scaled(value, SHORT, decimals),
        _ => number(value, decimals),
    }
}

fn scaled(value: f64, scale: Scale, decimals: Option<usize>) -> String {
    if value == 0.0 {
        let plain = scale.iter().find(|(factor, _)| *factor == 1.0).map_or("", |(_, name)| name);
        return format!("0{plain}");
    }
    let fits = scale.iter().rev().find(|(factor, _)| value.abs() >= *factor);
    let (factor, name) = fits.or(scale.first()).copied().unwrap_or((1.0, ""));
    // The digits that were asked for are those of the unit itself.
    let decimals = decimals.filter(|_| factor == 1.0);
    format!("{}{name}", number(value / factor, decimals))
}

fn number(value: f64, decimals: Option<usize>) -> String {
    let digits = decimals.unwrap_or(match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    });
    let text = format!("{value:.digits$}");
    if decimals.is_some() || !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The time of day, UTC, of a Unix time in seconds; with the day where `range` (seconds) is longer than one.
pub(super) fn time(seconds: f64, range: f64) -> String {
    let format = if range > 86_400.0 { "%m-%d %H:%M" } else { "%H:%M" };
    let time = Timestamp::from_second(seconds as i64).unwrap_or_default();
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_unit_that_fits() {
        for (value, unit, decimals, expected) in [
            (0.0312, "percentunit", None, "3.12%"),
            (0.999_812, "percentunit", Some(2), "99.98%"),
            (0.0421, "s", Some(3), "42.1 ms"),
            (90.0, "s", None, "1.5 mins"),
            (0.0, "s", Some(1), "0 s"),
            (1_610_612_736.0, "bytes", None, "1.5 GiB"),
            (2_500.0, "Bps", None, "2.5 kB/s"),
            (21.0, "reqps", Some(0), "21 req/s"),
            (12_345.0, "short", None, "12.3 K"),
            (-0.0001, "none", None, "0"),
            (3.0, "none", Some(0), "3"),
            (0.25, "other", None, "0.25"),
        ] {
            assert_eq!(text(value, unit, decimals), expected, "{value} {unit}");
        }
    }

    #[test]
    fn long_ranges_name_the_day() {
        assert_eq!(time(90_000.0, 3600.0), "01:00");
        assert_eq!(time(90_000.0, 200_000.0), "01-02 01:00");
    }
}
