"""Verilog of a whole quantised network: one time-multiplexed multiply-accumulate engine behind AXI-Stream ports."""
