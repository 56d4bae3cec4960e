"""Confidence that means what it says: fit, apply and measure calibrations. Pure functions over arrays; no model is known here."""
