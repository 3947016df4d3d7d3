"""Numbers and graphs: formats, schemes, the quantised graph, its one meaning, and the passes that make it."""
