"""The kernel of Candor: tasks, predictions, the family protocol, errors. It imports no framework."""

__version__ = "0.1.0"
