"""The commands, grouped by what they work on. Each parses, calls the library, prints; heavy imports stay inside."""
