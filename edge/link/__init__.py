"""What crosses the cut between a head and a tail: codes packed bit by bit, in packets with a length and a checksum."""
