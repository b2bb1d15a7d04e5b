"""The API: `run` and `Process`, and what stands behind them."""
