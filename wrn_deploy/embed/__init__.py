"""The C library over the Runner: what builds it, and what it calls; no heavy libraries."""
