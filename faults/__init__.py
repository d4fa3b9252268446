"""Fault runs: `make faults`. Whatever crashes, no event is lost, doubled, reordered or leaked."""
