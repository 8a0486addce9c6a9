"""Keras' networks: descriptions, weights, and the graphs that they become."""
