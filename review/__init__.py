"""Honest review: who is shown what, what people do with it, and how far that can be believed. Pure: no I/O, no clock, no chance."""
