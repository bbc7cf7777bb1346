"""What MkDocs calls to make the documentation's site."""
