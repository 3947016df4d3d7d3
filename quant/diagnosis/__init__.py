"""What a quantised network lost against its float form: where, why, and the cheapest cure."""
