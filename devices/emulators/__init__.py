"""Emulated ARM boards: QEMU runs generated C and a plugin counts its instructions. Emulated time is not time."""
