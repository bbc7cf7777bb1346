"""What was measured, as data: reports, ratios, warnings, comparisons and their JSON."""
