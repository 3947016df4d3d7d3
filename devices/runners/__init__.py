"""What runs on a board: a static C program and a one-file Python program; both write the records of `devices.protocol`."""
