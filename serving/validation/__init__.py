"""Registered models are tried out before they may draft: in a process with limits, never in the gateway."""
