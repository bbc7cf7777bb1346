"""PyCUDA, cuda-bindings and our GPU code, as they are, on a stand-in for the CUDA driver: `make test-driver`."""
