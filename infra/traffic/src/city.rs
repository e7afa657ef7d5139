//! Cities and the boxes in which their vehicles may be left.

/// A city; positions are in millionths of a degree.
#[derive(Debug)]
pub(crate) struct City {
    /// Begins the ids of its vehicles.
    pub(crate) code: &'static str,
    /// `ce_source` of what its vehicles say.
    pub(crate) source: &'static str,
    pub(crate) south: i64,
    pub(crate) north: i64,
    pub(crate) west: i64,
    pub(crate) east: i64,
}

macro_rules! cities {
    ($($code:literal, $name:literal: $south:literal, $west:literal, $north:literal, $east:literal;)*) => {
        pub(crate) const CITIES: &[City] = &[$(City {
            code: $code,
            source: concat!("/mobilitycorps/eu/", $name, "/gateway"),
            south: ($south * 1e6) as i64,
            north: ($north * 1e6) as i64,
            west: ($west * 1e6) as i64,
            east: ($east * 1e6) as i64,
        },)*];
    };
}

cities! {
    "BER", "berlin": 52.43, 13.27, 52.57, 13.52;
    "MUC", "munich": 48.09, 11.46, 48.20, 11.66;
    "HAM", "hamburg": 53.50, 9.88, 53.62, 10.10;
    "PAR", "paris": 48.82, 2.26, 48.90, 2.41;
    "LYS", "lyon": 45.71, 4.79, 45.79, 4.90;
    "MAD", "madrid": 40.37, -3.76, 40.48, -3.63;
    "BCN", "barcelona": 41.35, 2.11, 41.44, 2.22;
    "ROM", "rome": 41.84, 12.42, 41.95, 12.56;
    "MIL", "milan": 45.43, 9.11, 45.51, 9.25;
    "AMS", "amsterdam": 52.33, 4.83, 52.41, 4.97;
    "VIE", "vienna": 48.16, 16.30, 48.25, 16.43;
    "WAW", "warsaw": 52.18, 20.94, 52.28, 21.08;
    "STO", "stockholm": 59.29, 17.99, 59.37, 18.13;
    "CPH", "copenhagen": 55.64, 12.49, 55.72, 12.62;
    "LIS", "lisbon": 38.70, -9.21, 38.78, -9.10;
}

impl City {
    /// Whether a position lies in the box.
    pub(crate) fn contains(&self, latitude: i64, longitude: i64) -> bool {
        (self.south..=self.north).contains(&latitude) && (self.west..=self.east).contains(&longitude)
    }
}
