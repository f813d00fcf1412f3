"""File formats: torch.save files, safetensors, and their detection."""
