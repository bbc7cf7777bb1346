"""Pictures of training runs and of networks, and the data they are drawn from; no heavy packages."""
