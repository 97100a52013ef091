"""What can be run: the ablations, the recipes that train them, designs and presets. Only data."""
