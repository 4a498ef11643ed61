"""Geometry that tasks and models share: neighbourhoods, padded chains, shapes of traces. Knows neither."""
