"""Benchmarks of Strandline beside Apache Kafka."""
