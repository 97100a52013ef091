"""What is measured in trained networks, for the report: gradients, activations, errors."""
