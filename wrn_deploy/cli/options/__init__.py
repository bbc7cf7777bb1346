"""The options of the commands: their types, names, texts, and how they become what the pipeline takes."""
