"""Runs suites against Strandline and Apache Kafka, and keeps the list of what passes."""
