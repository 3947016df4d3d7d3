"""Meters made of software, for trying out a set-up before the instrument is there, and for tests."""
