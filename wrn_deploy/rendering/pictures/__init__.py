"""The pictures of a report as inline SVG: one file a picture; colours come from the page around them."""
