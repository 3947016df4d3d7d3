"""What decides how much of a network an input needs: early exits, two complementary networks, a memory, a filter."""
