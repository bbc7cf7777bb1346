"""The steps that serve bundles by Triton: its model repository, checks of it, and the server."""
