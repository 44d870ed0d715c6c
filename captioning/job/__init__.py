"""One run over a caption file: plan what is missing, request it, keep every answer in a journal."""
