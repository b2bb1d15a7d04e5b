"""The Python API: `run`, `Process`, and the modules behind them."""
