"""Evaluate and calibrate a model on a labelled folder, through the same engine that serves it."""
