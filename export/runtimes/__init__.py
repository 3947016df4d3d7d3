"""Runtimes that execute a written part on this machine, all behind the same two small types of `session`."""
