"""Arms: which items are shown their draft, which none, and which one with a planted error."""
