//! Damage to a folder: every byte of every format changed in turn, every file cut at every length.
//!
//! A small folder holds every format. For each damage it is opened by the node's own code, everything is read as a consumer
//! reads it, `bronze verify` runs, what is open to work on is converted and sealed, and all is read again; a second pass loses the
//! log and rebuilds. What must hold: a consumer gets exactly what was acknowledged, or something says that it does not
//! (the start is refused, a read fails, `verify` complains, a warning or an error is logged). Never a wrong record, never a silent gap.
//! And where the node starts, `verify` complains of the damaged file itself, unless [`duty`] says why its bytes mean nothing.

pub mod alarms;
pub mod duty;
pub mod examine;
pub mod folder;
pub mod observe;
pub mod sample;
pub mod sweep;
