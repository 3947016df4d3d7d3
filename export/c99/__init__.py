"""Portable C99: kernels, the static memory plan, and the emitter that prints a program as calls of kernels."""
