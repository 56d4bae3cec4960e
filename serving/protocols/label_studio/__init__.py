"""Label Studio: drafts for it, and reviews from it."""
