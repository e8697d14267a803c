//! Why the API server refused to make an object, from the text of the refusal.

/// Whether a refusal with this message can only be helped by a person.
///
/// A quota is freed, a service account is made, a webhook comes back; a Pod Security level, a
/// policy's verdict and an invalid field stay as they are.
pub fn is_permanent(message: &str) -> bool {
    let lower = message.to_lowercase();
    let has = |mark: &str| lower.contains(mark);
    // A webhook that cannot be called brings its own words, such as those about its certificate.
    if has("failed calling webhook") {
        return false;
    }
    has("violates podsecurity")
        || has("denied the request")
        || has("denied request")
        || has(" is invalid")
        || has("invalid value")
}

/// The message without the part that names the pod that could not be made.
pub fn shortened(message: &str) -> &str {
    message.split_once(" is forbidden: ").map_or(message, |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_to_heal_or_not() {
        let cases = [
            ("pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": privileged", true),
            ("admission webhook \"policy.example.com\" denied the request: no", true),
            ("pods \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", true),
            ("Pod \"a\" is invalid: spec.containers[0].image: Invalid value: \"\"", true),
            (
                "pods \"a\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=1, limited: pods=1",
                false,
            ),
            (
                "pods \"a\" is forbidden: error looking up service account m/loki: serviceaccount \"loki\" not found",
                false,
            ),
            ("Internal error occurred: failed calling webhook \"x\": its certificate is invalid", false),
            ("something else", false),
        ];
        for (message, expected) in cases {
            assert_eq!(is_permanent(message), expected, "{message}");
        }
    }

    #[test]
    fn the_name_of_the_pod_is_left_out() {
        assert_eq!(shortened("pods \"a\" is forbidden: exceeded quota: x"), "exceeded quota: x");
        assert_eq!(shortened("no such text"), "no such text");
    }
}
