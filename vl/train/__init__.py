"""The Lightning side: module, optimiser, strategies, callbacks and command line."""
