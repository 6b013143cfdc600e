"""InternVL for modcore: two layouts of config and weights, one tower, one way to cut images."""
