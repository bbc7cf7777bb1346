"""The shards of a data set, wherever it is stored, and what is kept of each that is done: parts and a ledger."""
