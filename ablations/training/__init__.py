"""How a network is trained. Start with `loop.py`."""
