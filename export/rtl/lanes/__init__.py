"""Exact dot products of codes as pipelined Verilog: `lanes.Lanes` says which, `lanes.verilog` prints the module."""
