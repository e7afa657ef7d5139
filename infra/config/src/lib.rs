//! A node's settings: one typed structure, filled from flags before `STRANDLINE_…` before file before default, each value
//! knowing where it came from. An unknown key is an error, in the file and in the environment.
//!
//! It reads nothing by itself: file text and environment are handed in. What it must never do: start with a setting that
//! was misspelt.

mod check;
mod load;
mod settings;
mod value;

pub use check::host_and_port;
pub use load::{ConfigFileError, Flag, Loaded, Origin, hint_for_setting, load, nearest};
pub use settings::{LogFormat, SETTINGS, SettingInfo, Settings};
pub use value::ValueError;
