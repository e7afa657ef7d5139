//! Rebuild.

/// Placeholder until the rebuild is written.
pub async fn rebuild(_data: &std::path::Path) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
