"""One meaning, three forms: generated Python, batches in numpy, ONNX."""
