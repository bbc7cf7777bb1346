"""How and where training runs: device, processes, sharding, memory."""
