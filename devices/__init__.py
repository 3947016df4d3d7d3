"""Boards and meters: how a bundle is executed and measured, on real and emulated devices."""
