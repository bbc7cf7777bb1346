"""Tests of shards: addresses, what is found and read, parts, stores and the ledger."""
