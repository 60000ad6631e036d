"""The engine: how bytes are brought in, over any driver."""
