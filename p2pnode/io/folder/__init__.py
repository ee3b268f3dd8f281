"""The data folder: the key, the lock, files that are whole or not there."""
