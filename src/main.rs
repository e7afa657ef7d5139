//! The one binary.

fn main() -> anyhow::Result<()> {
    Ok(())
}
