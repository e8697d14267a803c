//! Who may read the simulated kubelet's metrics: as with a real one, the API server decides.

use super::Shared;
use axum::http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long a permission is remembered: as long as a kubelet does without further settings.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The tokens that may read the metrics of a node, and since when that is known.
pub(super) type Allowed = BTreeMap<(String, String), Instant>;

/// Whether the bearer of the token in `headers` may read the metrics of `node`.
///
/// # Errors
/// The status and one line for people when it may not, or that cannot be found out.
pub(super) async fn check(shared: &Shared, node: &str, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let unauthorized = || (StatusCode::UNAUTHORIZED, "the kubelet needs the token of a ServiceAccount".to_owned());
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(unauthorized)?;
    let key = (node.to_owned(), token.to_owned());
    let remembered = |allowed: &Allowed| allowed.get(&key).is_some_and(|since| since.elapsed() < REMEMBERED);
    if remembered(&shared.allowed.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(());
    }
    let unavailable = |_| (StatusCode::SERVICE_UNAVAILABLE, "the API server does not answer".to_owned());
    let client = shared.client.get().ok_or((StatusCode::SERVICE_UNAVAILABLE, "the sandbox is starting".to_owned()))?;
    let review = review_token(client, token).await.map_err(unavailable)?;
    let status = review.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true)).ok_or_else(unauthorized)?;
    let name = user.username.clone().unwrap_or_default();
    let access = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            resource_attributes: Some(ResourceAttributes {
                verb: Some("get".to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some("metrics".to_owned()),
                name: Some(node.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &access).await.map_err(unavailable)?;
    if !answer.status.is_some_and(|status| status.allowed) {
        return Err((StatusCode::FORBIDDEN, format!("{name} may not get nodes/metrics")));
    }
    let mut allowed = shared.allowed.lock().unwrap_or_else(PoisonError::into_inner);
    allowed.retain(|_, since| since.elapsed() < REMEMBERED);
    allowed.insert(key, Instant::now());
    Ok(())
}

async fn review_token(client: &Client, token: &str) -> kube::Result<TokenReview> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await
}
