"""Models that read images: what they declare, and what is the same for all of them."""
