// fuzz: the readers of a bundle's files on any bytes, for libFuzzer. By the first byte: a manifest, a manifest whose digest
// is made to fit, or a graph. The text of each error is made, as the C API makes it. Compiled as one unit with the sources:
// it uses what manifest.cpp keeps to itself.

#include <cstdlib>
#include <string_view>

#include "bundle/manifest.hpp"
#include "error.hpp"
#include "onnx/graph.hpp"
#include "text/format.hpp"
#include "text/json.hpp"

namespace {

constexpr std::size_t kDepth = 100;

// The manifest's text with the digest of its own content, or the text itself if it is no JSON object.
std::string sealed(std::string_view content) {
  if (wrn::json_depth(content) > kDepth) return std::string(content);
  try {
    const wrn::Json record = wrn::Json::parse(content);
    if (record.object() != nullptr) return wrn::seal(*record.object());
  } catch (const wrn::JsonError &) {
  }
  return std::string(content);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char *data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view content(reinterpret_cast<const char *>(data) + 1, size - 1);
  try {
    if (data[0] % 3 == 1)
      wrn::check_graph(content, "fp32.onnx");
    else
      wrn::Manifest::parse(data[0] % 3 == 2 ? std::string(content) : sealed(content), "manifest.json");
  } catch (const wrn::Error &error) {
    if (wrn::printable(error.what()).empty()) std::abort();
  }
  return 0;
}
