// operators.hpp: the shapes that an operator makes of its inputs' shapes, for those that wrn-deploy exports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "onnx/wire.hpp"

namespace wrn::onnx {

using Shapes = std::vector<Shape>;
using Known = std::vector<const Shape *>;  // the constant values of the inputs; null: not a constant

constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;

// Shapes that do not fit the operator.
struct Misfit {
  std::string why;
};

// The number of elements, at most kHuge; throws Misfit.
std::uint64_t count(const Shape &shape);

// The shapes of a node's outputs, by the operator's definition in ONNX; throws Misfit.
using Rule = Shapes (*)(const Node &, const Shapes &, const Known &);

// Null if no exported graph has the operator.
Rule find_rule(const Node &node);

}  // namespace wrn::onnx
