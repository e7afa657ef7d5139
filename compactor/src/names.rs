//! Objects whose names tell what they hold: copies of the log, snapshots.

use futures::TryStreamExt;
use std::str::FromStr;
use strandline_object_store::{ListError, Objects, Purpose};

/// The names below a prefix, in no order; what is no such name is an error in the list.
///
/// # Errors
/// The bucket cannot be listed.
pub async fn names<N: FromStr>(objects: &Objects, purpose: Purpose, prefix: &str) -> Result<Vec<Result<N, N::Err>>, ListError> {
    let mut names = Vec::new();
    let mut listed = objects.list(purpose, prefix.trim_end_matches('/'));
    while let Some(found) = listed.try_next().await? {
        names.push(found.path.parse());
    }
    Ok(names)
}
