"""Candor on Ray Serve: the only place, with jobs, that knows Ray."""
