"""Verilog of a whole quantised network with a unit of hardware for every layer, all at work at once."""
