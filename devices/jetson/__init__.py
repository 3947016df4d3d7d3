"""Jetson boards: what they are, their power modes and clocks, and trtexec driven over a link and read back."""
