"""Which of modcore's own packages serves what: data for the hints of `explain`, nothing else."""

#: Architecture (and ``model_type``) -> the package that serves it.
PACKAGES = {
    "BloomForCausalLM": "modcore-bloom",
    "LlamaForCausalLM": "modcore-llama",
    "MistralForCausalLM": "modcore-llama",
    "bloom": "modcore-bloom",
    "llama": "modcore-llama",
    "mistral": "modcore-llama",
    "ray": "modcore-ray",
}
