"""The paper: prompts, cues, fusion, pooling. Arrays in, arrays out."""
