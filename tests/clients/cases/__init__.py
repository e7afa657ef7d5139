"""The tests, a file for each kind of client or question."""
