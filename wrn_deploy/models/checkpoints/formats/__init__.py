"""One file a format of weights: each is checked within the budget before it is read, and read as data only."""
