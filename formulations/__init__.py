"""What is allowed: costs of an instance, and the integer programs over them."""
