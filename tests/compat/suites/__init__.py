"""One module a suite: `ABOUT`, `install()`, and `run(broker, only, left_out)`, which yields a `Result` for each test: all but those
left out, or the one named."""
