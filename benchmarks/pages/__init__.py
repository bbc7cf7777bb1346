"""Writes what is generated: results in the README and docs/, their pictures, the table of the listed networks."""
