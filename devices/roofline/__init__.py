"""What a core can do at most: multiply-accumulates and bytes per second, measured by a small C program."""
