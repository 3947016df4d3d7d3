"""Devices under test on a serial line that speak MLPerf Tiny's text protocol."""
