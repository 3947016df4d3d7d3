"""What runs on a board: a static C program and a one-file Python program, with the same records."""
