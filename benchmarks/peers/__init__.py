"""Servers that people would use instead, each as its documentation shows it, on the same work.

`python -m benchmarks.peers.NAME --port P --redis URL` serves `/events`; `python -m
benchmarks.peers.NAME --redis URL --write RATE SECONDS BATCH` is their writer, in a process of its
own. They need benchmarks/requirements.txt.
"""
