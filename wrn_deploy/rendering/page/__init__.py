"""The sections of a report's HTML page and their style; `html.py` beside this folder puts them together."""
