"""The Llama family for modcore: mostly declarations of names, shapes and flags."""
