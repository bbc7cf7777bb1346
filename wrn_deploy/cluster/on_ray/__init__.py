"""Ray: a cluster started or joined, its nodes, and its actors as workers; Ray is imported when it is called."""
