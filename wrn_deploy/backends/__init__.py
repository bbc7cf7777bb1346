"""One file a library, found by its name; its RUNTIMES are the backends that users name, as in "torch_cuda"."""
