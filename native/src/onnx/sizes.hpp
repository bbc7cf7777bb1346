// sizes.hpp: how large each tensor of an exported graph gets for one image; as wrn_deploy/files/onnx/sizes.py.
#pragma once

#include <cstdint>
#include <string>

#include "onnx/wire.hpp"

namespace wrn::onnx {

// Checks that no tensor of the graph, and no buffer of a Conv, is out of proportion to its file of `size_bytes`. It
// knows the operators that wrn-deploy exports, and no others. Throws Unfit.
void check_sizes(const Model &model, std::uint64_t size_bytes, const std::string &name);

}  // namespace wrn::onnx
