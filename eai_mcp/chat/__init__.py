"""Sessions and turns: what is said to whom, what is remembered, what is running."""
