//! What a witness answers (C2SP tlog-witness).

use std::time::Instant;

use palisade_base::Timestamp;

use super::{Handler, Method, RateLimit, Request, Response};
use crate::witness::{REQUEST_BYTES_MAX, Refusal, Witness};

/// A witness behind HTTP.
pub struct WitnessApi {
    witness: Witness,
    limit: Option<RateLimit>,
}

impl WitnessApi {
    /// Answers for `witness`; one address may ask as often as `limit` says.
    pub fn new(witness: Witness, limit: Option<RateLimit>) -> Self {
        Self { witness, limit }
    }

    fn add(&self, request: &Request) -> Response {
        if let Some(limit) = &self.limit
            && !limit.allows(request.peer, Instant::now())
        {
            let answer = Response::text(429, "this address asks too often\n");
            return Response { retry_after: Some(1), ..answer };
        }
        let time = Timestamp::now().as_millis() / 1000;
        match self.witness.add(&request.body, time) {
            Ok(line) => Response::text(200, line),
            Err(Refusal::Conflict(size)) => {
                Response::of(409, "text/x.tlog.size", format!("{size}\n"))
            }
            Err(refusal) => {
                tracing::info!(%refusal, peer = %request.peer, "not signed");
                Response::text(refusal.status(), format!("{refusal}\n"))
            }
        }
    }
}

impl Handler for WitnessApi {
    fn body_bytes_max(&self, method: Method, path: &str) -> Option<usize> {
        (method == Method::Post && path == "/add-checkpoint").then_some(REQUEST_BYTES_MAX)
    }

    fn handle(&self, request: &Request) -> Response {
        match (request.method, request.path.as_str()) {
            (Method::Post, "/add-checkpoint") => self.add(request),
            (Method::Get | Method::Head, "/healthz") => Response::text(200, "ok\n"),
            (Method::Get | Method::Head, "/") => {
                Response::text(200, format!("{}\n", self.witness.public()))
            }
            _ => Response::text(404, "a witness answers POST /add-checkpoint\n"),
        }
    }
}
