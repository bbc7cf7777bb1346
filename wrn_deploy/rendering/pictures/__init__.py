"""The SVG toolkit (`svg`, `axis`, `lanes`, `label_placement`) and the pictures of reports and of tuning."""
