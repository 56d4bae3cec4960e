"""The Open Inference Protocol V2 (KServe, Triton), REST: health, metadata and inference."""
