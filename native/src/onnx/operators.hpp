// operators.hpp: the shapes that an operator makes of its inputs' shapes, for those that wrn-deploy exports.
#pragma once

#include "onnx/shapes.hpp"

namespace wrn::onnx {

// The shapes of a node's outputs, by the operator's definition in ONNX; throws Misfit.
using Rule = Shapes (*)(const Node &, const Shapes &, const Known &);

// Null if no exported graph has the operator.
Rule find_rule(const Node &node);

}  // namespace wrn::onnx
