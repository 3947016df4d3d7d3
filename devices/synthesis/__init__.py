"""Synthesis of an exported core for an FPGA, place and route where open tools have it, and what their reports say."""
