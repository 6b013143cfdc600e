"""Which of modcore's own packages serves what: data for the hints of `explain`, nothing else."""

#: Architecture (and ``model_type``) -> the package that serves it.
PACKAGES = {
    "BloomForCausalLM": "modcore-bloom",
    "InternVLChatModel": "modcore-internvl",
    "InternVLForConditionalGeneration": "modcore-internvl",
    "LlamaForCausalLM": "modcore-llama",
    "MistralForCausalLM": "modcore-llama",
    "Qwen2ForCausalLM": "modcore-llama",
    "Qwen3ForCausalLM": "modcore-llama",
    "bloom": "modcore-bloom",
    "internvl": "modcore-internvl",
    "internvl_chat": "modcore-internvl",
    "llama": "modcore-llama",
    "mistral": "modcore-llama",
    "qwen2": "modcore-llama",
    "qwen3": "modcore-llama",
    "ray": "modcore-ray",
}
