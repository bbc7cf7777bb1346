// fuzz: the readers of a bundle's files on any bytes, for libFuzzer; a manifest, or a graph if the first byte is odd.

#include <string_view>

#include "onnx/graph.hpp"
#include "bundle/manifest.hpp"
#include "error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char *data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view content(reinterpret_cast<const char *>(data) + 1, size - 1);
  try {
    if ((data[0] & 1) != 0)
      wrn::check_graph(content, "fp32.onnx");
    else
      wrn::Manifest::parse(content, "manifest.json");
  } catch (const wrn::Error &) {
  }
  return 0;
}
