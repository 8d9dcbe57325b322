"""Pixels to Scene: the network, its training, its ONNX runtime, tracking."""
