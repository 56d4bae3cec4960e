"""`make demo`: drafts real images and speech through a real server, from nothing to pictures with boxes."""
