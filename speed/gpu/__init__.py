"""CUDA graphs and fused replicas: many seeds trained as one network on a GPU."""
