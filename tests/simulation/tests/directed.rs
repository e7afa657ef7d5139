//! Every script ends well, with all rules in force.
#![allow(clippy::unwrap_used, clippy::panic)]

use strandline_simulation::{Script, run_script};

/// `SIMULATION_SCRIPT=LostReply` plays one.
fn chosen() -> Vec<Script> {
    let wanted = std::env::var("SIMULATION_SCRIPT").ok();
    let is_chosen = |script: &Script| wanted.as_ref().is_none_or(|wanted| format!("{script:?}") == *wanted);
    let chosen: Vec<Script> = Script::ALL.into_iter().filter(is_chosen).collect();
    assert!(!chosen.is_empty(), "there is no script {wanted:?}");
    chosen
}

#[test]
fn every_script_ends_well() {
    let mut failed = Vec::new();
    for script in chosen() {
        eprintln!("{script:?}");
        if let Err(what) = run_script(script, None) {
            eprintln!("{script:?}: {what}\n");
            failed.push((script, what.lines().next().unwrap_or_default().to_owned()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
