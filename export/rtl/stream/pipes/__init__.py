"""Pipes of fixed latency: from accumulators or codes to codes."""
