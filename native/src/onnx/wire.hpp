// wire.hpp: the structure of an ONNX file without its weights; as wrn_deploy/files/onnx/wire.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wrn::onnx {

using Shape = std::vector<std::int64_t>;

// A tensor: its declared size, and the bytes that it has in the file.
struct Constant {
  std::string name;
  Shape dims;
  std::int64_t type = 0;
  std::uint64_t payload = 0;            // bytes of all its data fields
  std::optional<std::uint64_t> raw;     // bytes of raw_data
  std::optional<Shape> numbers;         // of a small int64 tensor
  bool external = false;                // its data are in another file
  bool sparse = false;                  // the size of a sparse tensor, whose parts are constants of their own
};

struct Node {
  std::string op_type, domain;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, Shape, std::less<>> ints;
  std::map<std::string, std::string, std::less<>> strings;
  std::vector<Constant> constants;
  std::uint64_t sparse = 0, graphs = 0;
};

// The main graph, merged from all parts as protobuf does, and what no graph of a bundle has.
struct Model {
  std::vector<Node> nodes;
  std::vector<Constant> constants;
  std::map<std::string, std::vector<std::optional<std::int64_t>>> inputs;  // nothing: a size that is not fixed
  std::uint64_t graphs = 0, functions = 0, training = 0, branches = 0, sparse = 0, external = 0;
};

// Reads the file `name`; throws Unfit if it is no ONNX, or has more parts than the budget allows.
Model read_model(std::string_view data, const std::string &name);

}  // namespace wrn::onnx
