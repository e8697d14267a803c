//! What may not be stored of a person or of a secret, as regular expressions that the Collector and the
//! shipper of the logs both run (RE2: no look-around, linear time).

use serde_json::{Value, json};

/// Names of values that are secret, as part of a name.
const SECRET_NAMES: &str =
    "(?:[a-z0-9]+[_.-])*(?:password|passwd|pwd|secret|token|api[_-]?key|authorization|cookie)(?:[_.-][a-z0-9]+)*";
/// Keys of attributes with such a value.
const SECRET_KEYS: &str = "(?i).*(?:password|passwd|secret|token|api[-_.]?key|authorization|cookie).*";
/// Card numbers of 16 digits in fours, of 15, 14 and 13 digits, each with the first digits that issuers
/// have: a time in milliseconds or a counter is none. There is no checksum in a regular expression, so
/// ids are spared by their names ([`IDS`]).
const CARD: &str = concat!(
    r"\b((?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|6\d{3})(?:[ -]?\d{4}){3}",
    r"|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}",
    r"|3(?:0[0-5]|[68]\d)\d[ -]?\d{6}[ -]?\d{4}",
    r"|4\d{12})\b"
);
/// Ids that keep their values: the attributes of the specification, and the names they have in logs.
const IDS: [&str; 12] = [
    "user.id",
    "session.id",
    "service.component",
    "algorithm.name",
    "content.id",
    "enduser.id",
    "user_id",
    "userId",
    "session_id",
    "sessionId",
    "content_id",
    "contentId",
];
/// Those that are a user's, which become pseudonyms.
const USER_IDS: [&str; 4] = ["user.id", "user_id", "userId", "enduser.id"];
/// Those that no metric may carry: one series for each value.
const IDS_OF_MANY: [&str; 10] = [
    "user.id",
    "session.id",
    "content.id",
    "enduser.id",
    "user_id",
    "userId",
    "session_id",
    "sessionId",
    "content_id",
    "contentId",
];

/// The entry `masks` of the context: `values`, the patterns, each with one group that is what to mask; `card`, which
/// spares ids; `bareSecret`, a number under a secret name in JSON; `secretKeys`; `ids`, `userIds`, `idsOfMany`.
pub(super) fn context() -> Value {
    let values = [
        // E-mail addresses.
        r"([A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,})".to_owned(),
        // JSON web tokens.
        r"\b(eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)".to_owned(),
        // Credentials as headers have them.
        r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})".to_owned(),
        // The password of a URL.
        r"://[^/\s:@]+:([^/\s@]+)@".to_owned(),
        // `password=value`, in texts, queries of URLs, logfmt.
        format!(r#"(?i)\b{SECRET_NAMES}=([^&\s"'\\]+)"#),
        format!(r#"(?i)\b{SECRET_NAMES}="((?:[^"\\]|\\.)*)""#),
        // `"password": "value"`, and the same in a text of JSON that is a string of JSON.
        format!(r#"(?i)"{SECRET_NAMES}"\s*:\s*"((?:[^"\\]|\\.)*)""#),
        format!(r#"(?i)\\"{SECRET_NAMES}\\"\s*:\s*\\"((?:[^"\\]|\\\\(?:\\"|.))*)"#),
    ];
    json!({
        "values": values,
        "card": CARD,
        "bareSecret": format!(r#"(?i)"{SECRET_NAMES}"\s*:\s*(-?[0-9][^,}}\s]*)"#),
        "secretKeys": SECRET_KEYS,
        "ids": IDS,
        "userIds": USER_IDS,
        "idsOfMany": IDS_OF_MANY,
    })
}
