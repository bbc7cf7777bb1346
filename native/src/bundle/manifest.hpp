// manifest.hpp: what a bundle's manifest says, read as strictly as wrn_deploy/manifest.py reads it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json.hpp"

namespace wrn {

// An input or output of a graph; its shape leaves out the batch.
struct Tensor {
  std::string name;
  std::int32_t dtype = 0;  // WRN_FLOAT32, ...
  std::vector<std::int64_t> shape;
  std::size_t image_bytes = 0;
};

Tensor make_tensor(std::string name, std::int32_t dtype, std::vector<std::int64_t> shape);

struct Artifact {
  std::string key, kind, path, sha256;
  std::uint64_t size_bytes = 0;
  std::map<std::string, std::string> parents;  // key -> sha256
  Json facts;  // what was found while it was made: a record
};

// The network: its input and outputs, and from a pixel to the normalised input, value * scale + shift.
struct Model {
  std::string name, family;
  std::int64_t classes = 0, height = 0, width = 0;
  std::vector<std::string> labels;
  std::array<float, 3> scale{}, shift{};
  Tensor input, pixels;  // of the graph; of images as they were decoded
  std::vector<Tensor> outputs;
};

struct Manifest {
  Model model;
  std::map<std::string, Artifact, std::less<>> artifacts;

  // Reads a manifest's exact text; `name` is the file, for errors. Throws Unfit or Error.
  static Manifest parse(std::string_view content, const std::string &name);
};

}  // namespace wrn
