"""Files that are programs: TorchScript, torch.export and ONNX. They only predict.

A program computes in a process of its own (``worker``), which can be killed: neither an
endless loop nor a huge allocation reaches the window. ``Program`` is that process's
end on this side. Importing this package imports neither torch nor onnxruntime.
"""
