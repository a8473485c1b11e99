//! What a log answers: tiles and the checkpoint (C2SP tlog-tiles), Rekor v2's client API, its
//! health and its metrics.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::json;

use super::{Handler, Method, RateLimit, Request, Response, ServerCounts};
use crate::bundle::LogEntry;
use crate::entry::{self, SUBMISSION_BYTES_MAX};
use crate::log::{AppendError, Log};
use crate::tile::{TileCoordinate, TileKind};

/// Where Rekor v2's clients write and read.
const REKOR: &str = "/api/v2";

/// A log behind HTTP.
pub struct LogApi {
    log: Arc<Log>,
    counts: Arc<ServerCounts>,
    limit: Option<RateLimit>,
    n_limited: std::sync::atomic::AtomicU64,
    n_refused: std::sync::atomic::AtomicU64,
}

impl LogApi {
    /// Answers for `log`; one address may submit as often as `limit` says.
    pub fn new(log: Arc<Log>, counts: Arc<ServerCounts>, limit: Option<RateLimit>) -> Self {
        let (n_limited, n_refused) = Default::default();
        Self { log, counts, limit, n_limited, n_refused }
    }

    fn submit(&self, request: &Request) -> Response {
        if let Some(limit) = &self.limit
            && !limit.allows(request.peer, Instant::now())
        {
            self.n_limited.fetch_add(1, Ordering::Relaxed);
            return Response {
                retry_after: Some(1),
                ..status(429, 8, "this address submits too often")
            };
        }
        let accepted = match entry::accept(&request.body) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.n_refused.fetch_add(1, Ordering::Relaxed);
                return status(400, 3, &error.to_string());
            }
        };
        let appended = match self.log.append(accepted.body.clone()) {
            Ok(appended) => appended,
            Err(error) => return append_failed(&error),
        };
        let tree = &appended.published.checkpoint;
        let proof = match self.log.prove(appended.index, tree.size) {
            Ok(Some(proof)) => proof,
            Ok(None) => return status(503, 14, "the entry is in the log and not published yet"),
            Err(error) => {
                tracing::error!(%error, "a tile cannot be read");
                return status(500, 13, "the entry is in the log, and its proof cannot be made");
            }
        };
        let entry = LogEntry {
            index: appended.index,
            log_id: self.log.key().id().to_vec(),
            kind: accepted.kind.to_string(),
            version: "0.0.2".to_string(),
            size: tree.size,
            root: tree.root,
            proof,
            checkpoint: appended.published.note.clone(),
            body: accepted.body,
        };
        Response::json(201, &entry.to_json())
    }

    fn read(&self, path: &str) -> Response {
        if path == "checkpoint" {
            return match self.log.published() {
                Some(published) => Response::text(200, published.note.clone()),
                None => Response::text(503, "no checkpoint has been published yet\n"),
            };
        }
        let Some(tile) = TileCoordinate::parse(path) else {
            return Response::text(404, "there is nothing here\n");
        };
        match self.log.tile(&tile) {
            None => Response::text(404, "the log does not reach so far\n"),
            Some(Ok(bytes)) => {
                let kind = match tile.kind {
                    TileKind::Level(_) | TileKind::Entries => "application/octet-stream",
                };
                Response { immutable: true, ..Response::of(200, kind, bytes) }
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a tile cannot be read");
                Response::text(500, "the tile cannot be read\n")
            }
        }
    }

    fn health(&self) -> Response {
        if self.log.is_healthy() {
            Response::text(200, "ok\n")
        } else {
            Response::text(503, "the log cannot be written\n")
        }
    }

    fn metrics(&self) -> Response {
        let counts = self.log.counts();
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let size = self.log.published().map_or(0, |published| published.checkpoint.size);
        let mut out = String::new();
        let rows: [(&str, &str, &str, u64); 12] = [
            ("log_size", "gauge", "Entries below the published checkpoint", size),
            (
                "log_healthy",
                "gauge",
                "Whether entries can be written",
                self.log.is_healthy().into(),
            ),
            ("log_queue_entries", "gauge", "Entries that wait", self.log.queue_length() as u64),
            ("log_appended_total", "counter", "Entries written", load(&counts.n_appended)),
            (
                "log_duplicates_total",
                "counter",
                "Entries that were there",
                load(&counts.n_duplicates),
            ),
            ("log_batches_total", "counter", "Batches written", load(&counts.n_batches)),
            ("log_batch_microseconds_total", "counter", "Time of batches", load(&counts.batch_us)),
            ("log_busy_total", "counter", "Entries refused, too many waited", load(&counts.n_busy)),
            (
                "log_unwitnessed_total",
                "counter",
                "Rounds without a quorum",
                load(&counts.n_unwitnessed),
            ),
            ("log_refused_total", "counter", "Entries refused as invalid", load(&self.n_refused)),
            ("log_limited_total", "counter", "Submissions above the rate", load(&self.n_limited)),
            (
                "log_connections",
                "gauge",
                "Open connections",
                self.counts.n_open.load(Ordering::Relaxed) as u64,
            ),
        ];
        for (name, kind, help, value) in rows {
            let _ = write!(
                out,
                "# HELP palisade_{name} {help}\n# TYPE palisade_{name} {kind}\npalisade_{name} {value}\n"
            );
        }
        let name = "palisade_log_connections_refused_total";
        let _ = write!(
            out,
            "# HELP {name} Connections refused\n# TYPE {name} counter\n{name} {}\n",
            load(&self.counts.n_refused)
        );
        let name = "palisade_log_answers_total";
        let _ = write!(out, "# HELP {name} Answers by class\n# TYPE {name} counter\n");
        for (class, count) in self.counts.n_answers.iter().enumerate().skip(1) {
            let _ = writeln!(out, "{name}{{class=\"{class}xx\"}} {}", load(count));
        }
        Response::of(200, "text/plain; version=0.0.4", out)
    }
}

impl Handler for LogApi {
    fn body_bytes_max(&self, method: Method, path: &str) -> Option<usize> {
        (method == Method::Post && path == "/api/v2/log/entries").then_some(SUBMISSION_BYTES_MAX)
    }

    fn handle(&self, request: &Request) -> Response {
        let path = request.path.as_str();
        match request.method {
            Method::Post if path == "/api/v2/log/entries" => self.submit(request),
            Method::Get | Method::Head => match path {
                "/healthz" | "/api/v2/healthz" => self.health(),
                "/metrics" => self.metrics(),
                _ => {
                    let below = path.strip_prefix(REKOR).unwrap_or(path);
                    self.read(below.strip_prefix('/').unwrap_or_default())
                }
            },
            _ => Response::text(405, "submit to /api/v2/log/entries; read with GET\n"),
        }
    }
}

/// An error as gRPC's gateway writes it (`google.rpc.Status`).
fn status(status: u16, code: u8, message: &str) -> Response {
    Response::json(status, &json!({"code": code, "message": message, "details": []}))
}

fn append_failed(error: &AppendError) -> Response {
    let message = error.to_string();
    match error {
        AppendError::TooLarge(_) => status(400, 3, &message),
        AppendError::Busy | AppendError::Stopping | AppendError::NotWitnessed => {
            Response { retry_after: Some(1), ..status(503, 14, &message) }
        }
        AppendError::Failed(_) => status(500, 13, "the log cannot be written"),
    }
}
