"""Projects: what a team wants of its drafts."""
