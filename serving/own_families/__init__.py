"""`candor families`: a team's own model family, from a template to conformance."""
