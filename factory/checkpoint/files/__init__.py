"""Containers that tensors come in: torch.save files, safetensors, and how to tell them apart."""
