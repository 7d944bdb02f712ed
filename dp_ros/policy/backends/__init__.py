"""Run the networks of a bundle, by ONNX Runtime or TorchScript."""
