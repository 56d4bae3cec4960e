"""Gold items, reviews, and what they say about people and drafts."""
