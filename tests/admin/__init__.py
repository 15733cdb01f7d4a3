"""The admin address: who may ask, what can be asked for, and what it does."""
