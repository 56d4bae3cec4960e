"""Files of strangers: what they are, what they hold, and what they may take, before a family reads them."""
