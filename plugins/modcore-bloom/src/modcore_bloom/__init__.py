"""The Bloom family for modcore: mostly declarations of names, shapes and flags."""
