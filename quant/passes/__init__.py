"""Passes: functions Graph -> Graph. `quant.ptq.PASSES` is the visible list of those that prepare a float graph."""
