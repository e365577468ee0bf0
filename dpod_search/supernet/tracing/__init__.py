"""From the user's model to a graph of operations, with shapes and source lines."""
