"""CVAT's protocol: Candor stands where CVAT looks for nuclio, so that a CVAT of one's own lists Candor's models as its functions."""
