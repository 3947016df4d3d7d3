"""The two ends of a split network: a server that runs the tail for many heads, and the client beside a head."""
