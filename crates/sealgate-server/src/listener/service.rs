//! The trait between the connections and the code that answers their requests.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use super::activity::Activity;

/// Answers requests.
#[async_trait]
pub(crate) trait HttpService: Send + Sync {
    /// Answers one request. Records in `activity` when the request was received as a whole.
    async fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> Response<Full<Bytes>>;
}
