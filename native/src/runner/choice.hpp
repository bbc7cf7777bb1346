// choice.hpp: which backend runs a bundle at which precision: what this library can have, and names for the rest.
#pragma once

#include <string>
#include <vector>

#include "bundle/bundle.hpp"

namespace wrn {

struct Choice {
  std::string backend, title, precision, artifact;
  std::string flavor;   // of TensorRT; empty: ONNX Runtime runs it
  bool graphs = false;  // whether inferences run as CUDA graphs
};

// What to open for a named backend and precision; empty: not named. Several, if no backend is named and the bundle has
// plans: the first that can run here. Throws Error.
std::vector<Choice> choose(const Bundle &bundle, const std::string &backend, const std::string &precision, int threads);

}  // namespace wrn
