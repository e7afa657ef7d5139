//! The HTTP side: metrics, health, and what the operator's commands ask of a running node.

mod bronze;
mod failure;
mod index;
mod verify;
mod verify_log;
mod verify_manifests;
mod verify_unknown;

pub use bronze::{BronzeFile, BronzeTopic};
pub use failure::Failure;
pub use index::IndexReport;
pub use verify::{VerifyLine, VerifyResult, verify_bronze};

use crate::node::{NodeStatus, Parts};
use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves until the runtime's tasks end. Says where.
///
/// # Errors
/// The system does not say where the listener is.
pub fn serve(listener: TcpListener, parts: Arc<Parts>) -> anyhow::Result<SocketAddr> {
    let bound = listener.local_addr().context("the HTTP address")?;
    let router = router(parts.clone());
    let ending = parts.ending.clone();
    parts.runtime.spawner.spawn("http", async move {
        // Its connections are tasks of their own, and a client that stays would keep the node's parts.
        let served = axum::serve(listener, router).with_graceful_shutdown(ending.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the HTTP side has ended");
        }
    });
    Ok(bound)
}

/// All routes.
pub fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/bronze", get(bronze::list))
        .route("/bronze/{topic}/manifest", get(bronze::manifest))
        .route("/bronze/{topic}/schema", get(bronze::schema))
        .route("/bronze/{topic}/head", get(bronze::head))
        .route("/bronze/seal", post(bronze::seal))
        .route("/bronze/verify", post(verify::verify))
        .route("/index", get(index::inspect))
        .route("/index/snapshot", post(index::snapshot))
        .layer(from_fn_with_state(parts.clone(), until_the_end))
        .with_state(parts)
}

/// What is asked of a node ends with it.
async fn until_the_end(State(parts): State<Arc<Parts>>, request: Request, next: Next) -> Response {
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = parts.ending.cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "the node is stopping\n").into_response(),
    }
}

async fn metrics(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], parts.metrics.render())
}

/// Answers as long as the process does, and says what someone has to look at.
async fn health(State(parts): State<Arc<Parts>>) -> String {
    let disagreement = index::disagreement(&parts.cell.view()).map(|text| format!("{text}\n"));
    format!("alive\n{}", disagreement.unwrap_or_default())
}

/// Serves: the cell is folded and joined (a node that is not does not listen), has not failed since, and is not asked to stop.
async fn ready(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    let is_over = parts.cell.is_stopped() || parts.draining.is_cancelled();
    if is_over { (StatusCode::SERVICE_UNAVAILABLE, "not serving\n") } else { (StatusCode::OK, "serving\n") }
}

async fn status(State(parts): State<Arc<Parts>>) -> Json<NodeStatus> {
    Json(NodeStatus::of(&parts).await)
}
