"""Models, prompts and cards: read from their directories, found by name, reloaded when a file changes."""
