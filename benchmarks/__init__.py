"""Measures Candor: `python -m benchmarks` (`make bench`) served against raw; `.batching` and `.calibration` their parts alone."""
