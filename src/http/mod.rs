//! The HTTP side: metrics, health, and what the operator's commands ask of a running node.

mod bronze;
mod failure;
mod index;
mod verify_manifests;
mod verify_unknown;

pub use bronze::{BronzeFile, BronzeTopic, VerifyResult, verify_bronze};
pub use failure::Failure;
pub use index::IndexReport;

use crate::node::{NodeStatus, Parts};
use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Binds and serves until the runtime's tasks end. Says where.
///
/// # Errors
/// The address is taken or is none.
pub async fn serve(address: &str, parts: Arc<Parts>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve HTTP on {address} (choose another with --http, or `--http ''` for none)"))?;
    let bound = listener.local_addr().context("the HTTP address")?;
    let router = router(parts.clone());
    parts.runtime.spawner.spawn("http", async move {
        if let Err(error) = axum::serve(listener, router).await {
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
        .route("/bronze/verify", post(bronze::verify))
        .route("/index", get(index::inspect))
        .route("/index/snapshot", post(index::snapshot))
        .with_state(parts)
}

async fn metrics(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], parts.metrics.render())
}

/// Answers as long as the process does, and says what someone has to look at.
async fn health(State(parts): State<Arc<Parts>>) -> String {
    let disagreement = index::disagreement(&parts.cell.view()).map(|text| format!("{text}\n"));
    format!("alive\n{}", disagreement.unwrap_or_default())
}

/// Serves: the cell is folded and joined (a node that is not does not listen), and has not failed since.
async fn ready(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    if parts.cell.is_stopped() { (StatusCode::SERVICE_UNAVAILABLE, "not serving\n") } else { (StatusCode::OK, "serving\n") }
}

async fn status(State(parts): State<Arc<Parts>>) -> Json<NodeStatus> {
    Json(NodeStatus::of(&parts).await)
}
