// graph.hpp: judges an ONNX file of a bundle before ONNX Runtime reads it; as wrn_deploy/files/onnx/.
#pragma once

#include <string>
#include <string_view>

namespace wrn {

// Checks that all that the graph needs is in the file, that it has operators of exported graphs alone, and asks for no
// more memory than its size suggests. Throws Unfit.
void check_graph(std::string_view data, const std::string &name);

}  // namespace wrn
