"""Servers that people would use instead, each as its documentation shows it, on the same work.

`python -m benchmarks.peers.NAME --port P --redis URL` serves `/events`; with `--write RATE SECONDS
BATCH` added it is their writer, in a process of its own. They need benchmarks/requirements.txt.
Those that need more than that say by `missing()` what is not there.
"""
