//! Which rules the random simulation finds broken, and by which seed first, as docs/rules.md shows it: every rule is switched off
//! for as many seeds as it takes, or as are asked for.
//!
//! `cargo run -p strandline-simulation --features mutations --example rules_by_chance -- SEEDS [RULE...]`
#![allow(clippy::print_stdout)]

use strandline_simulation::{Mutation, run_mutated};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seeds: u64 = arguments.next().unwrap_or_else(|| "40".to_owned()).parse()?;
    let asked: Vec<String> = arguments.collect();
    let mut rules: Vec<_> = Mutation::BY_SCRIPT.into_iter().map(|(rule, _, expected)| (rule, expected)).collect();
    for (rule, _, expected) in Mutation::BY_CHANCE {
        if !rules.contains(&(rule, expected)) {
            rules.push((rule, expected));
        }
    }
    for (rule, expected) in rules {
        if !asked.is_empty() && !asked.contains(&format!("{rule:?}")) {
            continue;
        }
        let mut otherwise = Vec::new();
        let first = (0..seeds).find(|seed| match run_mutated(*seed, Some(Mutation::Rule(rule))) {
            Err(failure) if expected.is(&failure) => true,
            Err(failure) => {
                let what = failure.lines().next().unwrap_or_default();
                otherwise.push(format!("{seed}: {}", what.chars().take(100).collect::<String>()));
                false
            }
            Ok(_) => false,
        });
        let found = first.map_or_else(|| format!("not within {seeds} seeds"), |seed| format!("by seed {seed}"));
        println!("{rule:?}, {expected:?}: {found}; otherwise failed {} runs {:?}", otherwise.len(), otherwise.first());
    }
    Ok(())
}
