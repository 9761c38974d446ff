"""Files, locks, errors and processes: what knows neither speech nor tensors of a model."""
