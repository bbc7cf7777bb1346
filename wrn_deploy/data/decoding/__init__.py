"""From encoded bytes to pixels, in this process or in several."""
