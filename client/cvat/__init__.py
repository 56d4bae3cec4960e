"""Candor beside CVAT's own tools: a function for `cvat-cli`, and a command that drafts a task in batches.

Both need the package `cvat-sdk` (and with it Pillow), which is imported when they are used.
"""
