//! ApiVersions: the one table, as it is.

use crate::Cluster;
use strandline_wire::ErrorCode;
use strandline_wire::api::SUPPORTED;
use strandline_wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};

impl Cluster {
    /// What is spoken here.
    pub fn api_versions(&self) -> ApiVersionsResponse {
        let api_keys = SUPPORTED.iter().map(|range| ApiVersion {
            api_key: range.key.code(),
            min_version: range.min,
            max_version: range.max,
        });
        ApiVersionsResponse {
            api_keys: api_keys.collect(),
            finalized_features_epoch: self.cell.view().cell.features_epoch,
            ..ApiVersionsResponse::default()
        }
    }

    /// The answer, in version 0, to a version that is not spoken: the range of this API alone.
    pub fn unsupported_api_versions(&self) -> ApiVersionsResponse {
        let all = self.api_versions();
        let own = all.api_keys.into_iter().filter(|range| range.api_key == strandline_wire::ApiKey::ApiVersions.code());
        ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: own.collect(),
            ..ApiVersionsResponse::default()
        }
    }
}
