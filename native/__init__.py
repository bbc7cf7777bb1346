"""The C++ runner: what CMake needs to build libwrn_runner without Python; no Python code."""
