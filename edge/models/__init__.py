"""The project's own classifiers. `models.py` holds the list; the network files import torch, the list does not."""
